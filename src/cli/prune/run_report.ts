/** The report of a run, as `pare.json` has it, from its journal and what it was asked for. */

import { countWeightFileBytes } from "../../checkpoint/count_weight_file_bytes.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { LayerEntry } from "../../prune/run/journal.ts";
import { VERSION } from "../../protocol/version.ts";
import type { RunReport } from "../../report/run_report.ts";

/** What the journal does not know. */
export interface RunFacts extends Pick<RunReport, "parameters" | "calibration" | "resumed" | "perplexity"> {
  /** Weights left dense by choice. */
  readonly skipped: readonly string[];
  /** For people. */
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly blocks: number;
  readonly hiddenSize: number;
  readonly finished: Date;
}

/** The report of a run whose copy is dense; {@link RunReport} says what is in it. */
export function runReport(facts: RunFacts, entries: readonly LayerEntry[]): RunReport {
  const { checkpoint, calibration, parameters, skipped, resumed, perplexity } = facts;
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
    backend: entries[0].report.backend, // every run prunes a layer
    adapter: entries[0].report.adapter,
    resumed,
    seconds: {
      calibration: calibrationSeconds,
      layers: layerSeconds,
      total: calibrationSeconds + layerSeconds,
    },
    layers: entries.map(({ name, block, report, seconds }) => (
      { ...report, name, block, calibration_seconds: seconds.calibration }
    )),
    skipped: [...skipped],
    format: "dense",
    bytes: { dense: bytes, written: bytes },
    perplexity,
  };
}
