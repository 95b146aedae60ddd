/**
 * Builds the report of a run, which is the content of `pare.json`, from the settings of the run and from its
 * journal, which records each pruned layer.
 */

import { countWeightFileBytes } from "../../model/checkpoint/weight_files.ts";
import type { DescribedModel, ModelFolder } from "../../model/model.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import { VERSION } from "../../protocol/version.ts";
import { allocationSchema, removalSchema, type RunReport } from "../report/run_report.ts";
import { type PhaseSeconds, withTotal } from "../report/run_seconds.ts";
import type { Choice } from "../choose_layers.ts";
import { calibrationLabels, calibrationSeed } from "../read_calibration.ts";
import type { RunTexts } from "../texts/named_texts.ts";
import { CALIBRATION_TEXT, type RunFingerprint } from "./fingerprint.ts";
import type { JournalEntry, LayerEntry } from "./journal.ts";
import { validationWarnings } from "./warnings.ts";
import type { PruneRun } from "./prune_run.ts";

/** The facts about the model and the calibration that every report has. */
export interface CommonFacts {
  /** The name of the model in the title of the report. */
  readonly name: string;
  readonly options: Pick<RunOptions, "samples" | "seed">;
  readonly texts: RunTexts;
  /** Tokens per window of the calibration text. */
  readonly seqlen: number;
  /** The fingerprint of the command. */
  readonly fingerprint: RunFingerprint;
}

/** Returns the members that the reports of `pare prune` and `pare shrink` share. @param heldOut the number of held-out windows */
export function commonMembers(
  { name, options: { samples, seed }, texts, seqlen, fingerprint }: CommonFacts,
  { checkpoint: { config }, model: { spec } }: DescribedModel,
  heldOut: number,
) {
  return {
    version: VERSION,
    finished: new Date().toISOString(),
    model: {
      name,
      model_type: String(config.model_type),
      blocks: spec.blockCount,
      hidden_size: spec.hiddenSize,
    },
    calibration: {
      text: calibrationLabels(texts.calibration).join(", "),
      digest: fingerprint[CALIBRATION_TEXT],
      samples,
      validation_samples: heldOut,
      seqlen,
      seed: calibrationSeed(texts.calibration, seed),
    },
  };
}

/** The facts that are not in the journal. */
export interface RunFacts extends CommonFacts {
  /** The parameters of the run by their names in `pare.json`, with every default filled in. */
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly options: RunOptions;
  readonly opened: ModelFolder;
  readonly choice: Choice;
  /** The parts that the same command has removed from a larger model before. */
  readonly shrunk?: RunReport["shrunk"];
}

/** The results of the end of a run, which the journal does not record. */
export interface RunEnd extends Pick<PhaseSeconds, "write" | "evaluation"> {
  /** The number of held-out windows. */
  readonly validationSamples: number;
  readonly perplexity: RunReport["perplexity"];
  /** The warnings that the run gave before it started. */
  readonly warnings: readonly string[];
}

/** Returns the report of a run with dense output. {@link RunReport} describes the fields. */
export function runReport(
  facts: RunFacts,
  run: PruneRun,
  end: RunEnd,
): RunReport {
  const { opened, parameters, choice, options, texts, shrunk } = facts,
    { journal, allocation, layers, blocks } = run;
  const warnings = [
    ...end.warnings,
    ...validationWarnings(layers.map(({ report, name }) => ({ ...report, name }))),
  ];
  const bytes = countWeightFileBytes(opened.checkpoint.shards), { write, evaluation, perplexity } = end;
  const { calibration, ...head } = commonMembers(facts, opened, end.validationSamples), { model } = head;
  return {
    ...head,
    parameters,
    calibration,
    backend: layers[0].report.backend, // every run prunes at least one layer
    adapter: layers[0].report.adapter,
    resumed: run.resumeCount,
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
    ...blocks.length > 0 && { blocks },
    skipped: [...choice.skipped],
    format: "dense",
    bytes: { dense: bytes, written: bytes },
    perplexity,
    ...shrunk && { shrunk: removalSchema.parse(shrunk) },
    ...warnings.length > 0 && { warnings },
    ...allocation && { allocation: allocationSchema.parse(allocation) },
    // The command of a shrunk model is another one.
    ...!shrunk && {
      command: repeatCommand("prune", { model, calibration, parameters }, { ...options, ...texts }),
    },
    fingerprint: { ...facts.fingerprint },
  };
}

/** Adds up the seconds of the phases that the journal records. */
function journalSeconds(entries: readonly JournalEntry[]): Omit<PhaseSeconds, "write" | "evaluation"> {
  const seconds = { load: 0, allocation: 0, calibration: 0, layers: 0, reconstruction: 0 };
  for (const entry of entries) {
    if (entry.type === "start") seconds.load += entry.seconds;
    if (entry.type === "allocation") seconds.allocation += entry.seconds;
    if (entry.type === "reconstruction") seconds.reconstruction += entry.seconds;
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

/** A word that a shell passes on as it is. */
const PLAIN_WORD = /^[\w.,/:=@%+-]+$/;

/** The options of a run that its report does not have. */
export type RepeatedOptions =
  & RunTexts
  & Pick<RunOptions, "validation" | "windows">
  & Partial<Pick<RunOptions, "format">>;

/**
 * Returns the command line of a run. Every parameter is named, so that the command stays the same if a default changes. The report names
 * files without their folders, and so does the command.
 */
export function repeatCommand(
  verb: "prune" | "shrink",
  { model, calibration, parameters }: Pick<RunReport, "model" | "calibration" | "parameters">,
  options: RepeatedOptions,
): string {
  const { samples, seqlen, seed } = calibration;
  const values: [name: string, value: unknown][] = [
    ["calibration", calibrationLabels(options.calibration)],
    ["samples", samples],
    ["validation", options.validation],
    ["seqlen", seqlen],
    ["seed", seed],
    ...Object.entries(parameters).filter(([name, value]) => name !== "pattern" || value !== "unstructured"),
    ["format", options.format],
    ["text", options.evaluation.map(({ label }) => label)],
    ["windows", options.windows],
  ];
  const words = values.flatMap(([name, value]) => {
    const option = `--${name.replaceAll("_", "-")}`;
    if (value === true) return [option];
    const given = [value].flat().filter((item) => item !== undefined && item !== null && item !== false);
    return given.flatMap((item) => [option, String(item)]); // an option with several values is repeated
  });
  return ["pare", verb, model.name, "--out", "FOLDER", ...words].map(quote).join(" ");
}

/** Quotes a word for the shells of Unix. */
function quote(word: string): string {
  return PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
