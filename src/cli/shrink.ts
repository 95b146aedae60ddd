/**
 * `pare shrink MODEL --out FOLDER` removes neurons, heads, experts and whole blocks, and writes a smaller checkpoint of
 * the same family. The model is calibrated and the layers are solved in this process. A command that was
 * stopped starts over.
 */

import { basename } from "node:path";
import { Command } from "commander";
import { formatJson } from "../base/files/whole_file.ts";
import { type ModelFolder, openModelFolder } from "../model/model.ts";
import { storesBfloat16 } from "../prune/block_plan.ts";
import { DevicePruner } from "../prune/device_pruner.ts";
import { readCalibration } from "../prune/read_calibration.ts";
import { RUN_REPORT_FILE } from "../prune/report/file_names.ts";
import { bytesText, countText, numberText, shareText } from "../prune/report/format.ts";
import { tokenWarnings, validationWarnings } from "../prune/run/warnings.ts";
import { shrinkModel } from "../prune/shrink/shrink_model.ts";
import { type ShrinkReport, shrinkReport } from "../prune/shrink/shrink_report.ts";
import {
  countKept,
  type KeptUnits,
  readingLayers,
  readUnits,
  requireShrinkable,
  type ShareOptions,
  UNIT_KINDS,
  type UnitKind,
  UNITS,
} from "../prune/shrink/units.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { MODEL_ARGUMENT, modelFolder, requireDense } from "./files/model_folder.ts";
import {
  lockOutput,
  requireEmptyFolder,
  requireOtherFolder,
  requireWritableFolder,
} from "./files/output_path.ts";
import { openRunTexts, requireTexts } from "./files/text_source.ts";
import { openBackend } from "./open_backend.ts";
import {
  addBackendOption,
  addCommonOptions,
  addMeasurementOptions,
  addSeedOption,
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
import { perplexityLine } from "./prune/print_result.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface ShrinkOptions extends CommonOptions, BackendFlags, ShareOptions {
  readonly out: string;
  readonly multiple: number;
  readonly blocks: number;
  readonly calibration: readonly string[];
  readonly samples: number;
  readonly validation: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly overwrite?: boolean;
}

/** The default of `--multiple`. GPUs multiply matrices fastest if their sizes are multiples of 64. */
const DEFAULT_MULTIPLE = 64;

/** Returns the command `pare shrink`. `signal` stops it. */
export function createShrinkCommand(signal: AbortSignal): Command {
  const command = new Command("shrink")
    .description(
      "remove neurons, heads, experts and whole blocks of a model, and write the smaller checkpoint",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the smaller checkpoint")
    .requiredOption(...CALIBRATION_OPTION, appendValue);
  const share = number("from 0 to below 1", (value) => value >= 0 && value < 1);
  for (const { option, description } of Object.values(UNITS)) {
    command.option(`--${option} <share>`, description, share, 0);
  }
  command
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
  addMeasurementOptions(addSeedOption(addWindowOptions(command, 1)))
    .option("--overwrite", "replace a checkpoint in the output folder");
  addCommonOptions(addBackendOption(command));
  addExample(command, "shrink ./llama --out smaller --calibration c4.jsonl --ffn 0.25 --text wikitext.txt");
  return command.action((model: string, options: ShrinkOptions) => shrink(model, options, signal));
}

async function shrink(name: string, options: ShrinkOptions, signal: AbortSignal): Promise<void> {
  const { out, overwrite, calibration, text, blocks, samples } = options, started = performance.now();
  const kinds = UNIT_KINDS.filter((kind) => options[UNITS[kind].option] > 0);
  if (kinds.length === 0 && blocks === 0) {
    throw new UsageError(
      `shrink: needs ${UNIT_KINDS.map((kind) => `--${UNITS[kind].option}`).join(", ")} or --blocks`,
    );
  }
  await requireTexts({ calibration, text }, samples);
  await requireWritableFolder("--out", out);
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false), folder = await modelFolder(name, output, signal);
  const opened = cleanup.use(await openModelFolder(folder, fs)), { checkpoint, model } = opened;
  requireDense(opened, "shrunk");
  await requireOtherFolder(out, folder);
  cleanup.use(await lockOutput(out));
  await requireEmptyFolder(out, overwrite);
  requireShrinkable(checkpoint.config);
  const units = Object.fromEntries(kinds.map((kind) => [kind, unitSizes(kind, opened, options)]));
  const kept: KeptUnits = Object.fromEntries(kinds.map((kind) => [kind, units[kind].shrunk]));
  const seqlen = windowTokens(model, options.seqlen), texts = await openRunTexts(options, output, signal);
  const modelName = folder === name ? basename(await fs.realPath(folder)) : name;
  const backend = cleanup.adopt(
    await openBackend(options.backend, { ...options, storesBfloat16: storesBfloat16(model) }),
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
  const solved = readingLayers(kept, checkpoint.config, model.spec);
  for (const warning of tokenWarnings({ ...windows, queryOf: () => ({ method: "obc" }) }, solved)) {
    output.remark(`warning: ${warning}`);
  }
  let report: ShrinkReport | undefined;
  await shrinkModel({
    checkpoint,
    model,
    ...windows,
    kept,
    blocks,
    out,
    overwrite,
    reportFileNames: [RUN_REPORT_FILE],
    async reportFiles(result) {
      const perplexity = await comparePerplexity({ dense: model, pruned: result.model }, evaluated, {
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
        units,
      };
      const seconds = (performance.now() - started) / 1000, heldOut = windows.validationWindows.length;
      report = shrinkReport({ ...facts, perplexity, seconds, heldOut }, result);
      return new Map([[RUN_REPORT_FILE, formatJson(report)]]);
    },
  }, {
    fs,
    backend,
    pruner: new DevicePruner(backend),
    signal,
    onSimilarityStep: (done, total) => progress.note(`comparing blocks ${done}/${total}`),
    onExpertStep: (done, total) => progress.note(`scoring experts ${done}/${total}`),
    onCalibrationStep: ({ done, total }, secondsLeft) =>
      progress.note(`calibrating ${done}/${total}`, secondsLeft),
    onLayerDone: (done, total, event, secondsLeft) => {
      const detail = event && `${event.name} relative error ${numberText(event.report.relative_error)}`;
      progress.step(done, total, detail, secondsLeft);
    },
  });
  progress.stop();
  printReport(report!, out, output); // the run has written it
}

/**
 * Returns the numbers of units before and after.
 * @throws {UsageError} if rounding lets no unit be removed
 * @throws {ModelError} if the family cannot lose such units, or not as many
 */
function unitSizes(
  kind: UnitKind,
  { checkpoint, model }: ModelFolder,
  options: ShrinkOptions,
): { dense: number; shrunk: number } {
  const units = readUnits(kind, checkpoint.config, model.spec), share = options[UNITS[kind].option];
  const multiple = kind === "neurons" ? options.multiple : units.together;
  try {
    return { dense: units.count, shrunk: countKept(kind, units, share, multiple) };
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/** Prints the sizes and the perplexities, or with `--json` the whole report. */
function printReport(report: ShrinkReport, out: string, output: Output): void {
  for (const warning of validationWarnings(report.layers)) output.remark(`warning: ${warning}`);
  const { parameters, bytes, perplexity, dropped_blocks: dropped } = report;
  const fewer = shareText(1 - parameters.shrunk / parameters.dense);
  output.result({ ...report, out }, [
    ...dropped.length > 0 ? [`dropped ${dropped.length > 1 ? "blocks" : "block"} ${dropped.join(", ")}`] : [],
    ...UNIT_KINDS.flatMap((kind) => {
      const sizes = report[kind];
      return sizes ? [`${sizes.shrunk} of ${sizes.dense} ${kind} remain in each block`] : [];
    }),
    `${countText(parameters.shrunk)} of ${countText(parameters.dense)} parameters remain (${fewer} fewer), ` +
    `in ${bytesText(bytes.written)} instead of ${bytesText(bytes.dense)}`,
    ...perplexity.map(perplexityLine),
    `wrote ${out}`,
  ]);
}
