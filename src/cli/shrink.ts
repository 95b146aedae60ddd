/**
 * `pare shrink MODEL --out FOLDER` removes neurons of the feed-forward networks and whole blocks, and writes a smaller
 * checkpoint of the same family. The model is calibrated and the layers are solved in this process. If the command is
 * stopped or killed, the same command continues the run.
 */

import { basename } from "node:path";
import { Command } from "commander";
import { formatJson } from "../base/files/whole_file.ts";
import type { Checkpoint } from "../model/checkpoint/checkpoint.ts";
import { openModelFolder } from "../model/model.ts";
import { storesBfloat16 } from "../prune/block_plan.ts";
import { DevicePruner } from "../prune/device_pruner.ts";
import { readCalibration } from "../prune/read_calibration.ts";
import { RUN_REPORT_FILE } from "../prune/report/file_names.ts";
import { bytesText, countText, shareText } from "../prune/report/format.ts";
import {
  commandFingerprint,
  FORWARD_BACKEND,
  type RunFingerprint,
  runFingerprint,
} from "../prune/run/fingerprint.ts";
import type { TargetSource } from "../prune/run/job.ts";
import { PruneRun } from "../prune/run/prune_run.ts";
import { tokenWarnings, validationWarnings } from "../prune/run/warnings.ts";
import { neuronReaders, SHRINK_QUERY, shrinkModel } from "../prune/shrink/shrink_model.ts";
import { type ShrinkReport, shrinkReport } from "../prune/shrink/shrink_report.ts";
import type { RunTexts } from "../prune/texts/named_texts.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { MODEL_ARGUMENT, modelFolder, requireDense } from "./files/model_folder.ts";
import { requireOtherFolder, requireWritableFolder } from "./files/output_path.ts";
import { readShrinkReport } from "./files/run_report_files.ts";
import { openRunTexts, requireTexts } from "./files/text_source.ts";
import { openBackend } from "./open_backend.ts";
import {
  addBackendOption,
  addCommonOptions,
  addMeasurementOptions,
  addSeedOption,
  addTargetOptions,
  addWindowOptions,
  appendValue,
  type BackendFlags,
  CALIBRATION_OPTION,
  type CommonOptions,
  integer,
  number,
  windowTokens,
} from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { comparePerplexity, readEvaluationTexts } from "./prune/compare_perplexity.ts";
import { findFinishedRun } from "./prune/finished_run.ts";
import { perplexityLine, reconstructionLines } from "./prune/print_result.ts";
import { progressCallbacks } from "./prune/progress_callbacks.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface ShrinkOptions extends CommonOptions, BackendFlags {
  readonly out: string;
  readonly ffn: number;
  readonly multiple: number;
  readonly blocks: number;
  readonly calibration: readonly string[];
  readonly samples: number;
  readonly validation: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly target: TargetSource;
  readonly reconstruct: number;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
}

/** The default of `--multiple`. GPUs multiply matrices fastest if their sizes are multiples of 64. */
const DEFAULT_MULTIPLE = 64;

/** Returns the command `pare shrink`. `signal` stops it. */
export function createShrinkCommand(signal: AbortSignal): Command {
  const command = new Command("shrink")
    .description("remove neurons and whole blocks of a model, and write the smaller checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the smaller checkpoint")
    .requiredOption(...CALIBRATION_OPTION, appendValue)
    .option(
      "--ffn <share>",
      "share of the neurons of each feed-forward network to remove",
      number("from 0 to below 1", (value) => value >= 0 && value < 1),
      0,
    )
    .option(
      "--multiple <n>",
      "round the number of neurons that remain to a multiple of n",
      integer(1),
      DEFAULT_MULTIPLE,
    )
    .option(
      "--blocks <n>",
      "number of blocks to drop: those whose input and output are most alike",
      integer(0),
      0,
    );
  addMeasurementOptions(addTargetOptions(addSeedOption(addWindowOptions(command, 1))))
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard the unfinished run in the output folder and start over");
  addCommonOptions(addBackendOption(command));
  addExample(command, "shrink ./llama --out smaller --calibration c4.jsonl --ffn 0.25 --text wikitext.txt");
  return command.action((model: string, options: ShrinkOptions) => shrink(model, options, signal));
}

async function shrink(name: string, options: ShrinkOptions, signal: AbortSignal): Promise<void> {
  const { out, calibration, text, blocks, samples, ffn, target, reconstruct } = options;
  if (ffn === 0 && blocks === 0) throw new UsageError("shrink: needs --ffn or --blocks");
  if (ffn === 0 && (target !== "none" || reconstruct > 0)) {
    const option = reconstruct > 0 ? `--reconstruct ${reconstruct}` : `--target ${target}`;
    throw new UsageError(`option ${option}: needs --ffn, because dropping blocks changes no other block`);
  }
  await requireTexts({ calibration, text }, samples);
  await requireWritableFolder("--out", out);
  const output = new Output(options.json ?? false), folder = await modelFolder(name, output, signal);
  await requireOtherFolder(out, folder);
  const modelName = folder === name ? basename(await fs.realPath(folder)) : name;
  const report = await shrinkInto(out, { folder, modelName, options, output, signal });
  printReport(report, out, output);
}

/** The command with its model. */
interface ShrinkCommand {
  readonly folder: string;
  readonly modelName: string;
  readonly options: ShrinkOptions;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** Shrinks the model into the folder `out` unless this run is finished, and returns the report. */
async function shrinkInto(
  out: string,
  { folder, modelName, options, output, signal }: ShrinkCommand,
): Promise<ShrinkReport> {
  await using cleanup = new AsyncDisposableStack();
  const opened = cleanup.use(await openModelFolder(folder, fs)), { checkpoint, model } = opened;
  requireDense(opened, "shrunk");
  const readers = neuronReaders(checkpoint, model.spec), neurons = readers[0].cols;
  const width = keptWidth(neurons, options);
  const seqlen = windowTokens(model, options.seqlen), texts = await openRunTexts(options, output, signal);
  const fingerprint = await shrinkFingerprint(checkpoint, options, texts, seqlen);
  const finished = options.overwrite
    ? undefined
    : await findFinishedRun(out, fingerprint, fs, readShrinkReport);
  if (finished) {
    output.remark(`${out}: this run is finished already; add --overwrite to shrink again`);
    return finished;
  }
  const recorded = options.restart ? undefined : (await PruneRun.fingerprint(fs, out))?.[FORWARD_BACKEND];
  const backend = cleanup.adopt(
    await openBackend(options.backend, { ...options, recorded, storesBfloat16: storesBfloat16(model) }),
    (opened) => opened.dispose(),
  );
  const tokenizer = await opened.loadTokenizer();
  const windows = await readCalibration(
    tokenizer,
    { ...options, calibration: texts.calibration, seqlen },
    fs,
  );
  const evaluated = await readEvaluationTexts(tokenizer, texts.evaluation, {
    seqlen,
    windows: options.windows,
  }, fs);
  const progress = cleanup.adopt(output.progress("shrinking"), (bar) => bar.stop());
  const solved = width === undefined ? [] : readers;
  for (const warning of tokenWarnings({ ...windows, queryOf: () => SHRINK_QUERY }, solved)) {
    output.remark(`warning: ${warning}`);
  }
  await shrinkModel({
    checkpoint,
    model,
    ...options,
    ...windows,
    width,
    out,
    fingerprint: runFingerprint(fingerprint, backend),
    loadSeconds: performance.now() / 1000, // performance.now() counts from the start of the process
    reportFileNames: [RUN_REPORT_FILE],
    async reportFiles(written) {
      const perplexity = await comparePerplexity({ dense: model, pruned: written.model }, evaluated, {
        seqlen,
        backend,
        signal,
        progress: (what, done, total) => progress.note(`perplexity of the ${what} ${done}/${total}`),
      });
      const facts = {
        name: modelName,
        checkpoint,
        spec: model.spec,
        backend,
        options,
        texts,
        seqlen,
        neurons,
        width,
        fingerprint,
      };
      const seconds = performance.now() / 1000, heldOut = windows.validationWindows.length;
      const report = shrinkReport({ ...facts, perplexity, seconds, heldOut }, written);
      return new Map([[RUN_REPORT_FILE, formatJson(report)]]);
    },
  }, {
    fs,
    backend,
    pruner: new DevicePruner(backend),
    signal,
    onSimilarityStep: (done, total) => progress.note(`comparing blocks ${done}/${total}`),
    ...progressCallbacks(progress, output),
  });
  progress.stop();
  return (await readShrinkReport({ folder: out, files: await fs.list(out) ?? [] }))!; // the run has written it
}

/** Computes the fingerprint of the command (see `commandFingerprint`). */
async function shrinkFingerprint(
  checkpoint: Checkpoint,
  options: ShrinkOptions,
  texts: RunTexts,
  seqlen: number,
): Promise<RunFingerprint> {
  const { ffn, multiple, blocks } = options;
  const settings = { ...options, allocate: "uniform", format: "dense" } as const;
  const sources = { checkpoint, query: SHRINK_QUERY, options: settings, texts, seqlen, isLocal: true, fs };
  const removed = Object.entries({ ffn, multiple, blocks }).map((
    [name, value],
  ) => [`--${name}`, String(value)]);
  return { ...await commandFingerprint(sources), ...Object.fromEntries(removed) };
}

/**
 * Returns the number of neurons that remain, or undefined if none is removed.
 * @throws {UsageError} if rounding to a multiple of `--multiple` lets no neuron be removed
 */
function keptWidth(neurons: number, { ffn, multiple }: ShrinkOptions): number | undefined {
  if (ffn === 0) return undefined;
  const width = multiple * Math.max(1, Math.round((1 - ffn) * neurons / multiple));
  if (width < neurons) return width;
  throw new UsageError(
    `option --ffn ${ffn}: removes none of ${neurons} neurons, because the number that remains is rounded to ` +
      `${width}; give a larger share, or a smaller --multiple than ${multiple}`,
  );
}

/** Prints the sizes and the perplexities, or with `--json` the whole report. */
function printReport(report: ShrinkReport, out: string, output: Output): void {
  for (const warning of validationWarnings(report.layers)) output.remark(`warning: ${warning}`);
  const { parameters, bytes, perplexity, neurons, dropped_blocks: dropped } = report;
  const fewer = shareText(1 - parameters.shrunk / parameters.dense);
  output.result({ ...report, out }, [
    ...dropped.length > 0 ? [`dropped ${dropped.length > 1 ? "blocks" : "block"} ${dropped.join(", ")}`] : [],
    ...neurons ? [`${neurons.shrunk} of ${neurons.dense} neurons remain in each block`] : [],
    `${countText(parameters.shrunk)} of ${countText(parameters.dense)} parameters remain (${fewer} fewer), ` +
    `in ${bytesText(bytes.written)} instead of ${bytesText(bytes.dense)}`,
    ...reconstructionLines(report),
    ...perplexity.map(perplexityLine),
    `wrote ${out}`,
  ]);
}
