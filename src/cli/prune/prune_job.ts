/** Builds the job of `pare prune`: reads the texts, and defines the report and the format of the output. */

import type { Backend } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { PACK_QUANTIZED } from "../../model/formats/pack_quantized.ts";
import { countWeightFileBytes } from "../../model/checkpoint/weight_files.ts";
import type { Model } from "../../model/model.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { gridOfQuery } from "../../prune/quantized_model.ts";
import { readCalibration } from "../../prune/read_calibration.ts";
import type { FolderJob } from "../../prune/run/folder_destination.ts";
import { choiceParameters } from "../../prune/run/fingerprint.ts";
import type { ShrinkReport } from "../../prune/shrink/shrink_report.ts";
import { planOutput } from "../../prune/run/plan_output.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import { tokenWarnings } from "../../prune/run/warnings.ts";
import { type RunFacts, runReport } from "../../prune/run/run_report.ts";
import { readBaseCard } from "../../prune/report/base_card.ts";
import { REPORT_FILES } from "../../prune/report/file_names.ts";
import { readModelCard, runReportFiles } from "../files/run_report_files.ts";
import { comparePerplexity, readEvaluationTexts } from "./compare_perplexity.ts";
import type { ProgressDisplay } from "../terminal/output.ts";
import type { LayerChoice } from "./choice_options.ts";
import type { PruneOptions } from "./prune_options.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { effectiveParameters, layerQuerySchema } from "../../protocol/parameters.ts";
import { OPTION_PARAMETERS } from "../options/layer_options.ts";

/** The run of `pare shrink` that has made the pruned model. */
export interface FirstRun {
  readonly report: ShrinkReport;
  /** The larger model. */
  readonly dense: Checkpoint;
}

/** The facts of the report, and the options and parameters from which the job is built. */
export interface JobFacts extends RunFacts {
  readonly options: PruneOptions;
  readonly choice: LayerChoice;
  readonly first?: FirstRun;
}

/** The device, the file system and the callbacks with which the job is built and run. */
export interface JobServices {
  /** Opens the device for the forward passes of the evaluation. */
  openDevice(): Promise<Backend>;
  readonly fs: WorkFileSystem;
  readonly signal: AbortSignal;
  readonly progress: ProgressDisplay;
}

/** Returns the job without its fingerprint. @throws {ModelError} if a text is malformed or too short */
export async function pruneJob(
  facts: JobFacts,
  { openDevice, fs, signal, progress }: JobServices,
): Promise<Omit<FolderJob, "fingerprint">> {
  const { opened: { checkpoint, model, loadTokenizer }, choice, options, texts, seqlen, first } = facts;
  const tokenizer = await loadTokenizer();
  const calibration = await readCalibration(
    tokenizer,
    { ...options, calibration: texts.calibration, seqlen },
    fs,
  );
  const tokenized = await readEvaluationTexts(tokenizer, texts.evaluation, {
    seqlen,
    windows: options.windows,
  }, fs);
  const baseCard = readBaseCard(await readModelCard(first?.dense ?? checkpoint));
  const sized = linearLayers(model.spec).filter(({ name }) => choice.chosen.has(name));
  const gridOf = (name: string) => gridOfQuery(choice.queryOf(name));
  const streamed = (model: Model): Model => ({
    ...model,
    streamsExperts: options.expertsAtOnce !== undefined,
  });
  const output = {
    checkpoint,
    model: streamed(model),
    layers: choice.chosen,
    gridOf: options.format === PACK_QUANTIZED ? gridOf : undefined,
    out: options.out,
  };
  return {
    ...options,
    ...output,
    ...calibration,
    evaluatedWindows: tokenized.map(({ windows }) => windows),
    queryOf: choice.queryOf,
    allocation: choice.allocation,
    reportFileNames: REPORT_FILES,
    reportFiles: async (run, pruned, write) => {
      const started = performance.now();
      const perplexity = tokenized.length === 0
        ? []
        : await comparePerplexity({ dense: streamed(model), pruned: streamed(pruned) }, tokenized, {
          seqlen,
          backend: await openDevice(),
          signal,
          progress,
        });
      const evaluation = tokenized.length === 0 ? 0 : (performance.now() - started) / 1000;
      const report = runReport({ ...facts, shrunk: first?.report }, run, {
        perplexity,
        write,
        evaluation,
        validationSamples: calibration.validationWindows.length,
        warnings: tokenWarnings({ ...calibration, queryOf: choice.queryOf }, sized),
      });
      const { plan } = planOutput(output, fs);
      const written = countWeightFileBytes(plan.weightFiles);
      return runReportFiles(report, { format: options.format, written }, baseCard);
    },
  };
}

/**
 * Returns the parameters of the layers and of the choice of layers, by their names in `pare.json`.
 * @param query the parameters of the layers as they were given
 */
export function reportedParameters(query: LayerQuery, options: PruneOptions): Record<string, unknown> {
  const given = effectiveParameters(layerQuerySchema.parse(query));
  const parameters = {
    ...Object.fromEntries(OPTION_PARAMETERS.map((name) => [name, given[name]])),
    ...choiceParameters(options),
    preset: options.preset === "default" ? undefined : options.preset,
    protocol: options.protocol,
    for: options.for,
  };
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}
