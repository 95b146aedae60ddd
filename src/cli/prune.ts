/**
 * `pare prune MODEL --out FOLDER` prunes the linear layers of a model and writes the pruned checkpoint with a report. The model is
 * calibrated in this process. Its layers are solved in this process or on servers. If the command is stopped or killed, the same
 * command continues the run.
 */

import type { Tokenizer } from "@huggingface/tokenizers";
import { basename } from "node:path";
import type { Command } from "commander";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { PACK_QUANTIZED } from "../checkpoint/quantized/config.ts";
import { ModelError } from "../files/model_error.ts";
import { type Model, type ModelFolder, openModelFolder } from "../models/model.ts";
import { readTokens } from "../models/tokenizer/tokenizer.ts";
import { linearLayers } from "../prune/block_plan.ts";
import { readCalibration } from "../prune/read_calibration.ts";
import { gridOfQuery } from "../prune/quantized_model.ts";
import { layerQuerySchema, resolveParameters } from "../protocol/parameters.ts";
import type { AllocationEntry, LayerEntry } from "../prune/run/journal.ts";
import { formatPattern } from "../sparsity/pattern.ts";
import { layersWithFewTokens } from "../report/summary.ts";
import { REPORT_PAGE_FILE, RUN_REPORT_FILE, type RunReport } from "../report/run_report.ts";
import { readChoice } from "./prune/choice_options.ts";
import { comparePerplexity, type TokenizedText } from "./prune/compare_perplexity.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { formatNumber, formatSeconds } from "../report/format.ts";
import { layerQuery } from "./options/layer_options.ts";
import { openLocalHost } from "./local_host.ts";
import { modelFolder } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import {
  checkFormat,
  checkHostPoolFlags,
  checkObcSizes,
  declarePrune,
  type PruneOptions,
} from "./prune/prune_options.ts";
import { packStep } from "./prune/pack_step.ts";
import { remotePruner } from "./prune/remote_pruner.ts";
import { runFingerprint } from "./prune/run_fingerprint.ts";
import { type PruneJob, runPrune } from "./prune/run_prune.ts";
import { runReport } from "./prune/run_report.ts";
import { runReportFiles } from "./files/run_report_files.ts";
import { windowTokens } from "./options/common_options.ts";

/** Returns the command `pare prune`. `signal` stops it. */
export function pruneCommand(signal: AbortSignal): Command {
  return declarePrune().action((model: string, options: PruneOptions) => prune(model, options, signal));
}

async function prune(name: string, options: PruneOptions, signal: AbortSignal): Promise<void> {
  const query = layerQuery(options);
  checkHostPoolFlags(options);
  const started = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  const { checkpoint, model } = opened;
  requireDense(opened);
  const choice = await readChoice(model.spec, options, query, denoFileSystem);
  const chosen = linearLayers(model.spec).filter(({ name }) => choice.chosen.has(name));
  checkFormat(options.format, chosen, choice.queryOf);
  checkObcSizes(chosen, choice.queryOf);
  const seqlen = windowTokens(model, options.seqlen);
  const tokenizer = await opened.loadTokenizer();
  const windows = await readCalibration(tokenizer, { ...options, seqlen }, denoFileSystem);
  const texts = await readTexts(tokenizer, options.text);
  const remote = await remotePruner(options, output, signal);
  const local = cleanup.use(await openLocalHost(options.backend));
  const { backend } = local, fs = denoFileSystem;
  const modelName = folder === name ? basename(await fs.realPath(folder)) : name;
  const fingerprint = await runFingerprint({ checkpoint, query, options, seqlen, backend, fs });
  const progress = cleanup.adopt(output.progress("pruning"), (bar) => bar.stop());
  const gridOf = (name: string) => gridOfQuery(choice.queryOf(name));
  const job: PruneJob = {
    ...options,
    checkpoint,
    model,
    windows,
    layers: choice.chosen,
    queryOf: choice.queryOf,
    allocation: choice.allocation,
    fingerprint,
    pack: packStep({ ...options, spec: model.spec, gridOf, fs, signal }),
    gridOf: options.format === PACK_QUANTIZED ? gridOf : undefined,
    reportFileNames: [RUN_REPORT_FILE, REPORT_PAGE_FILE],
    reportFiles: async ({ layers, resumeCount, allocation }, pruned) => {
      const { skipped } = choice;
      const perplexity = await comparePerplexity({ dense: model, pruned }, texts, {
        seqlen,
        windows: options.windows,
        backend,
        signal,
        progress: (what, done, total) => progress.note(`perplexity of the ${what} ${done}/${total}`),
      });
      const facts = runFacts(modelName, checkpoint, model, query, options, seqlen);
      const run = runReport(
        { ...facts, skipped, resumed: resumeCount, perplexity, allocation: reportedAllocation(allocation) },
        sortByModel(layers, choice.chosen.keys()),
      );
      return runReportFiles(run, run.format, run.bytes.written);
    },
  };
  const layers = await runPrune(job, {
    fs,
    backend,
    pare: remote ?? local.pare,
    signal,
    onLayerDone: (done, total, event) => {
      const error = event && formatNumber(event.report.relative_error);
      progress.step(done, total, event && `${event.name} relative error ${error}`);
    },
    onAllocationStep: (done, total) => progress.note(`allocating ${done}/${total}`),
    onCalibrationStep: (done, total) => progress.note(`calibrating ${done}/${total}`),
    onUnfinished: (folder) =>
      output.remark(
        `the finished layers are in ${folder}; repeat the command to continue, or add --restart to start over`,
      ),
  });
  progress.stop();
  printResult(layers, (performance.now() - started) / 1000, output, options.out);
}

async function readTexts(tokenizer: Tokenizer, files: readonly string[]): Promise<TokenizedText[]> {
  const texts: TokenizedText[] = [];
  for (const file of files) {
    texts.push({ text: basename(file), tokens: await readTokens(tokenizer, file, denoFileSystem) });
  }
  return texts;
}

/**
 * Sorts layers by the order of the model. The journal, the file that records finished layers, has them in the
 * order in which they were solved.
 */
function sortByModel(layers: readonly LayerEntry[], names: Iterable<string>): LayerEntry[] {
  const positions = new Map([...names].map((name, position) => [name, position]));
  return layers.toSorted((a, b) => positions.get(a.name)! - positions.get(b.name)!);
}

/** Returns the allocation as the report has it, without the type of its line in the journal. */
function reportedAllocation(entry: AllocationEntry | undefined): RunReport["allocation"] {
  if (!entry) return undefined;
  const { name, sparsities, notes } = entry;
  return { name, sparsities, notes };
}

/** Collects the facts for the report that do not depend on the layers: the model, the parameters and the calibration. */
function runFacts(
  name: string,
  checkpoint: Checkpoint,
  { spec }: Model,
  query: LayerQuery,
  options: PruneOptions,
  seqlen: number,
) {
  const { calibration, samples, seed, layers, skip, minLayer, maxLayer, profile, allocate, trueSequential } =
    options;
  const choice = {
    layers,
    skip,
    min_layer: minLayer,
    max_layer: maxLayer,
    profile: profile && basename(profile),
    allocate: allocate === "uniform" ? undefined : allocate,
    true_sequential: trueSequential,
  };
  const { method, sparsity, blocksize, damping, pattern, refitSteps, effort, quantization } =
    resolveParameters(layerQuerySchema.parse(query));
  const resolved = {
    method,
    sparsity,
    pattern: formatPattern(pattern),
    blocksize,
    damping,
    refit: refitSteps || undefined,
    effort: method === "alps" ? effort : undefined,
    bits: quantization?.bits,
    group_size: quantization?.groupSize,
    symmetric: quantization?.symmetric,
    order: quantization?.order,
  };
  const given = Object.entries({ ...resolved, ...choice }).filter(([, value]) => value !== undefined);
  return {
    name,
    checkpoint,
    blocks: spec.blockCount,
    hiddenSize: spec.hiddenSize,
    parameters: Object.fromEntries(given),
    calibration: { text: basename(calibration), samples, seqlen, seed: seed ?? null },
    finished: new Date(),
  };
}

/** Checks that the weights of the checkpoint are dense, because the pruned copy has the same layout as the checkpoint. */
function requireDense({ checkpoint, model }: ModelFolder): void {
  if (model.weights === checkpoint) return;
  throw new ModelError(
    `${checkpoint.folder}: is quantised: \`pare unpack\` writes a dense copy, which can be pruned`,
  );
}

/** Prints the result of the run: every layer with `--json`, else the totals. */
function printResult(layers: readonly LayerEntry[], seconds: number, output: Output, out: string): void {
  const few = layersWithFewTokens(layers.map(({ tokens, report: { cols } }) => ({ tokens, cols }))).length;
  if (few > 0) {
    output.remark(
      `warning: ${few} layers were reached by fewer calibration tokens than they have columns, and were pruned with ` +
        `more damping or by magnitude; ${RUN_REPORT_FILE} has a note for each. More --samples reach more experts`,
    );
  }
  const rows = layers.map(({ name, report: { loss, relative_error, zeros, rows, cols } }) => (
    { name, loss, relative_error, zeros, rows, cols }
  ));
  const entries = rows.reduce((sum, layer) => sum + layer.rows * layer.cols, 0);
  const zeros = rows.reduce((sum, layer) => sum + layer.zeros, 0);
  output.result({ layers: rows, seconds, out }, [
    `pruned ${zeros} of ${entries} weights in ${layers.length} layers, ${formatSeconds(seconds)}`,
    `wrote ${out}`,
  ]);
}
