/**
 * Builds the report of a run, which is the content of `pare.json`, from the settings of the run and from its
 * journal, which records each pruned layer.
 */

import { countWeightFileBytes } from "../../checkpoint/shard.ts";
import type { AllocationEntry, JournalEntry, LayerEntry } from "../../prune/run/journal.ts";
import { VERSION } from "../../protocol/version.ts";
import type { Fingerprint } from "../../prune/run/fingerprint.ts";
import type { PruneRun } from "../../prune/run/prune_run.ts";
import { NAMED_SEED } from "../../prune/read_calibration.ts";
import type { RunReport } from "../../report/run_report.ts";
import { type PhaseSeconds, withTotal } from "../../report/run_seconds.ts";
import type { RunTexts } from "../files/text_source.ts";
import { type ParameterSources, reportedParameters } from "./reported_parameters.ts";
import { repeatCommand } from "./repeat_command.ts";
import type { LayerChoice } from "./choice_options.ts";
import type { ModelFolder } from "../../models/model.ts";

/** The facts that are not in the journal. */
export interface RunFacts extends ParameterSources {
  /** The name of the model in the title of the report. */
  readonly name: string;
  readonly opened: ModelFolder;
  readonly choice: LayerChoice;
  readonly texts: RunTexts;
  /** Tokens per window of the calibration text. */
  readonly seqlen: number;
  /** The fingerprint of the command. */
  readonly fingerprint: Fingerprint;
}

/** The results of the end of a run, which the journal does not record. */
export interface RunEnd extends Pick<PhaseSeconds, "write" | "evaluation"> {
  readonly perplexity: RunReport["perplexity"];
}

/** Returns the report of a run with dense output. {@link RunReport} describes the fields. */
export function runReport(
  facts: RunFacts,
  { journal, resumeCount, allocation, layers }: PruneRun,
  end: RunEnd,
): RunReport {
  const { name, opened: { checkpoint, model: { spec } }, choice, options, texts, seqlen, fingerprint } =
    facts;
  const bytes = countWeightFileBytes(checkpoint.shards), { write, evaluation, perplexity } = end;
  const settings = {
    model: {
      name,
      model_type: String(checkpoint.config.model_type),
      blocks: spec.blockCount,
      hidden_size: spec.hiddenSize,
    },
    parameters: reportedParameters(facts),
    calibration: {
      text: texts.calibration.label,
      samples: options.samples,
      seqlen,
      seed: options.seed ?? (texts.calibration.name === undefined ? null : NAMED_SEED),
    },
  };
  return {
    version: VERSION,
    finished: new Date().toISOString(),
    ...settings,
    backend: layers[0].report.backend, // every run prunes at least one layer
    adapter: layers[0].report.adapter,
    resumed: resumeCount,
    seconds: withTotal({ ...journalSeconds(journal.entries), write, evaluation }),
    layers: sortByModel(layers, choice.chosen.keys()).map(({ name, block, report, seconds, tokens }) => (
      {
        ...report,
        name,
        block,
        calibration_seconds: seconds.calibration,
        ...tokens !== undefined && { tokens },
      }
    )),
    skipped: [...choice.skipped],
    format: "dense",
    bytes: { dense: bytes, written: bytes },
    perplexity,
    ...allocation && { allocation: reportedAllocation(allocation) },
    command: repeatCommand(settings, {
      ...options,
      text: texts.evaluation.map(({ label }) => label),
    }),
    fingerprint: { ...fingerprint },
  };
}

/** Adds up the seconds of the phases that the journal records. */
function journalSeconds(entries: readonly JournalEntry[]): Omit<PhaseSeconds, "write" | "evaluation"> {
  const seconds = { load: 0, allocation: 0, calibration: 0, layers: 0 };
  for (const entry of entries) {
    if (entry.type === "start") seconds.load += entry.seconds;
    if (entry.type === "allocation") seconds.allocation += entry.seconds;
    if (entry.type !== "layer") continue;
    seconds.calibration += entry.seconds.calibration;
    seconds.layers += entry.seconds.layers;
  }
  return seconds;
}

/**
 * Sorts layers by the order of the model. The journal, the file that records finished layers, has them in the
 * order in which they were solved.
 */
function sortByModel(layers: readonly LayerEntry[], names: Iterable<string>): LayerEntry[] {
  const positions = new Map([...names].map((name, position) => [name, position]));
  return layers.toSorted((a, b) => positions.get(a.name)! - positions.get(b.name)!);
}

/** Returns the allocation as the report has it, without the other fields of its line in the journal. */
function reportedAllocation({ name, sparsities, notes }: AllocationEntry): RunReport["allocation"] {
  return { name, sparsities, notes };
}
