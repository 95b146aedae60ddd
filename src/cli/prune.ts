/**
 * `pare prune MODEL --out DIR`: calibrates a model here, has each layer solved, and writes the pruned checkpoint with a report of the
 * run. Given again after it was stopped or killed, the same command continues.
 */

import type { Tokenizer } from "@huggingface/tokenizers";
import { basename } from "node:path";
import type { Command } from "commander";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { packCheckpoint } from "../checkpoint/packed/pack_checkpoint.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/checkpoint.ts";
import type { Model } from "../models/model.ts";
import { openModelFolder } from "../models/open_model_folder.ts";
import { readTokens } from "../models/tokenizer/tokenizer.ts";
import { readCalibration } from "../prune/read_calibration.ts";
import type { LayerEntry } from "../prune/run/journal.ts";
import { layerQuerySchema, resolveParameters } from "../protocol/parameters.ts";
import { formatPattern } from "../sparsity/pattern.ts";
import { REPORT_PAGE_FILE, RUN_REPORT_FILE } from "../report/run_report.ts";
import { readChoice } from "./prune/choice_options.ts";
import { comparePerplexity, type TokenizedText } from "./prune/compare_perplexity.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { formatNumber, formatSeconds } from "../report/format.ts";
import { layerQuery } from "./options/layer_options.ts";
import { openLocalHost } from "./local_host.ts";
import { modelFolder } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import { checkFormat, checkServers, declarePrune, type PruneOptions } from "./prune/prune_options.ts";
import { remotePruner } from "./prune/remote_pruner.ts";
import { runFingerprint } from "./prune/run_fingerprint.ts";
import { type PruneJob, runPrune } from "./prune/run_prune.ts";
import { runReport } from "./prune/run_report.ts";
import { readRunReport, runReportFiles } from "./files/run_report_files.ts";
import { windowTokens } from "./options/seqlen_option.ts";

/** The command, stopped by `signal`. */
export function pruneCommand(signal: AbortSignal): Command {
  return declarePrune().action((model: string, options: PruneOptions) => prune(model, options, signal));
}

async function prune(name: string, options: PruneOptions, signal: AbortSignal): Promise<void> {
  const query = layerQuery(options);
  checkServers(options);
  const started = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  const { checkpoint, model } = opened;
  const choice = await readChoice(model.spec, options, query, denoFileSystem);
  checkFormat(options.format, choice.chosen.keys(), choice.queryOf);
  const seqlen = windowTokens(model, options.seqlen);
  const tokenizer = await opened.loadTokenizer();
  const windows = await readCalibration(tokenizer, { ...options, seqlen }, denoFileSystem);
  const texts = await readTexts(tokenizer, options.text);
  const remote = await remotePruner(options, output, signal);
  const local = cleanup.use(await openLocalHost(options.backend));
  const { backend } = local, fs = denoFileSystem;
  const shownName = folder === name ? basename(await fs.realPath(folder)) : name;
  const fingerprint = await runFingerprint({ checkpoint, query, options, seqlen, backend, fs });
  const progress = cleanup.adopt(output.progress("pruning"), (bar) => bar.stop());
  const job: PruneJob = {
    ...options,
    checkpoint,
    model,
    windows,
    layers: choice.chosen,
    queryOf: choice.queryOf,
    fingerprint,
    pack: packing(options, signal),
    reportFileNames: [RUN_REPORT_FILE, REPORT_PAGE_FILE],
    reportFiles: async ({ layers, resumeCount }, pruned) => {
      const { skipped } = choice;
      const perplexity = await comparePerplexity({ dense: model, pruned }, texts, {
        seqlen,
        windows: options.windows,
        backend,
        signal,
        progress: (what, done, total) => progress.note(`perplexity of the ${what} ${done}/${total}`),
      });
      const facts = describeRun(shownName, checkpoint, model, query, options, seqlen);
      const run = runReport(
        { ...facts, skipped, resumed: resumeCount, perplexity },
        inOrder(layers, choice.chosen.keys()),
      );
      return runReportFiles(run, run.format, run.bytes.written);
    },
  };
  const layers = await runPrune(job, {
    fs,
    backend,
    pare: remote ?? local.pare,
    signal,
    layerDone: (done, total, event) => {
      const error = event && formatNumber(event.report.relative_error);
      progress.step(done, total, event && `${event.name} relative error ${error}`);
    },
    calibrating: (done, total) => progress.note(`calibrating ${done}/${total}`),
    onKept: (folder) =>
      output.remark(
        `the finished work is in ${folder}: repeat the command to continue, or add --restart to start over`,
      ),
  });
  progress.stop();
  report(layers, (performance.now() - started) / 1000, output, options.out);
}

async function readTexts(tokenizer: Tokenizer, files: readonly string[]): Promise<TokenizedText[]> {
  const texts: TokenizedText[] = [];
  for (const file of files) {
    texts.push({ text: basename(file), tokens: await readTokens(tokenizer, file, denoFileSystem) });
  }
  return texts;
}

/** Layers in the order of the model: they are done in that of the hosts. */
function inOrder(layers: readonly LayerEntry[], names: Iterable<string>): LayerEntry[] {
  const places = new Map([...names].map((name, place) => [name, place]));
  return layers.toSorted((a, b) => places.get(a.name)! - places.get(b.name)!);
}

/** What of the report is known beforehand. */
function describeRun(
  name: string,
  checkpoint: Checkpoint,
  { spec }: Model,
  query: LayerQuery,
  options: PruneOptions,
  seqlen: number,
) {
  const { calibration, samples, seed, layers, skip, minLayer, maxLayer, profile, trueSequential } = options;
  const choice = {
    layers,
    skip,
    min_layer: minLayer,
    max_layer: maxLayer,
    profile: profile && basename(profile),
    true_sequential: trueSequential,
  };
  const { method, sparsity, blocksize, damping, pattern } = resolveParameters(layerQuerySchema.parse(query));
  const asked = { method, sparsity, pattern: formatPattern(pattern), blocksize, damping };
  const given = Object.entries({ ...asked, ...choice }).filter(([, value]) => value !== undefined);
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

/** Packs the dense copy into the output, where a sparse format was asked for. */
function packing({ format, out }: PruneOptions, signal: AbortSignal): PruneJob["pack"] {
  if (format === "dense") return undefined;
  return async (folder) => {
    const dense = await openCheckpoint(folder, denoFileSystem);
    try {
      const run = await readRunReport(dense);
      await packCheckpoint(dense, out, denoFileSystem, {
        format,
        weights: run?.layers.map(({ name }) => name),
        overwrite: true, // whether it may be was settled at the start
        signal,
        rewriteFiles: ({ bytes }) => runReportFiles(run, format, bytes.written),
      });
    } finally {
      await dense.close();
    }
  };
}

function report(layers: readonly LayerEntry[], seconds: number, output: Output, out: string): void {
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
