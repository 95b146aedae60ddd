/**
 * Builds the report of a run, which is the content of `pare.json`, from the settings of the run and from its
 * journal, which records each pruned layer.
 */

import { type Checkpoint, countWeightFileBytes } from "../../checkpoint/checkpoint.ts";
import type { LayerEntry } from "../../prune/run/journal.ts";
import { VERSION } from "../../protocol/version.ts";
import type { RunReport } from "../../report/run_report.ts";

/** The facts that are not in the journal. */
export interface RunFacts
  extends Pick<RunReport, "parameters" | "calibration" | "resumed" | "perplexity" | "allocation"> {
  /** The names of the weights that the options excluded from pruning. */
  readonly skipped: readonly string[];
  /** The name of the model in the title of the report. */
  readonly name: string;
  readonly checkpoint: Checkpoint;
  /** The number of transformer blocks. */
  readonly blocks: number;
  readonly hiddenSize: number;
  /** The time at which the last layer was finished. */
  readonly finished: Date;
}

/** Returns the report of a run with dense output. {@link RunReport} describes the fields. */
export function runReport(facts: RunFacts, entries: readonly LayerEntry[]): RunReport {
  const { checkpoint, calibration, parameters, skipped, resumed, perplexity, allocation } = facts;
  const bytes = countWeightFileBytes(checkpoint);
  const calibrationSeconds = entries.reduce((sum, { seconds }) => sum + seconds.calibration, 0);
  const layerSeconds = entries.reduce((sum, { seconds }) => sum + seconds.layers, 0);
  return {
    version: VERSION,
    finished: facts.finished.toISOString(),
    model: {
      name: facts.name,
      model_type: String(checkpoint.config.model_type),
      blocks: facts.blocks,
      hidden_size: facts.hiddenSize,
    },
    parameters,
    calibration,
    backend: entries[0].report.backend, // every run prunes at least one layer
    adapter: entries[0].report.adapter,
    resumed,
    seconds: {
      calibration: calibrationSeconds,
      layers: layerSeconds,
      total: calibrationSeconds + layerSeconds,
    },
    layers: entries.map(({ name, block, report, seconds, tokens }) => (
      {
        ...report,
        name,
        block,
        calibration_seconds: seconds.calibration,
        ...tokens !== undefined && { tokens },
      }
    )),
    skipped: [...skipped],
    format: "dense",
    bytes: { dense: bytes, written: bytes },
    perplexity,
    ...allocation && { allocation },
  };
}
