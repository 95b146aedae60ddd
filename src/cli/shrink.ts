/**
 * `pare shrink MODEL --out FOLDER` removes neurons, heads, experts and whole blocks, and writes a smaller checkpoint of
 * the same family. A second run prunes or rounds the smaller model, if options ask for it. The model is calibrated in
 * this process. Its layers are solved in this process or on servers. If the command is stopped or killed, the same command continues.
 */

import { Command } from "commander";
import { ModelError } from "../base/files/file_error.ts";
import { countWeightFileBytes } from "../model/checkpoint/weight_files.ts";
import type { ModelFolder } from "../model/model.ts";
import { bytesText, countText } from "../prune/report/format.ts";
import { removalLines, removedShare } from "../prune/report/summary.ts";
import type { ShrinkReport } from "../prune/shrink/shrink_report.ts";
import { neuronShare, withSmallerSizes } from "../prune/shrink/smaller_network.ts";
import { UNITS } from "../prune/shrink/units.ts";
import { reportedOptions, SHRINK_OPTIONS } from "../protocol/run/run_options.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { MODEL_ARGUMENT } from "./files/model_folder.ts";
import { requireEmptyFolder } from "./files/output_path.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addTextOption,
  integer,
  number,
} from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { addSomeLayerOptions, layerQuery } from "./options/layer_options.ts";
import { addRunOptions } from "./options/run_options.ts";
import { addHostPoolOptions } from "./options/server_options.ts";
import { prune } from "./prune.ts";
import {
  loadingLines,
  perplexityLine,
  perplexityWarnings,
  reconstructionLines,
} from "./prune/print_result.ts";
import { openRunModel } from "./prune/open_model.ts";
import { type PruneOptions, runtimeOption } from "./prune/prune_options.ts";
import { resolveLayers } from "./prune/resolve_layers.ts";
import { requireNoSmallerModel, secondRun, SMALLER_FOLDER } from "./shrink/second_run.ts";
import {
  planUnits,
  type ShrinkCommand,
  shrinkInto,
  type ShrinkOptions,
  unitKinds,
} from "./shrink/shrink_into.ts";
import type { Output } from "./terminal/output.ts";

/** The default of `--multiple`. GPUs multiply matrices fastest if their sizes are multiples of 64. */
const DEFAULT_MULTIPLE = 64;

/** The options with which held-out windows choose between results. */
const HELD_OUT_WITH = "with --target, --reconstruct, --sparsity, --pattern, --bits or --for";

/** Returns the command `pare shrink`. `signal` stops it. */
export function createShrinkCommand(signal: AbortSignal): Command {
  const command = new Command("shrink")
    .description(
      "remove neurons, heads, experts and whole blocks of a model, and write the smaller checkpoint",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the smaller checkpoint");
  addCalibrationOption(command);
  const removed = number("from 0 to below 1", (value) => value >= 0 && value < 1);
  for (const { option, description } of Object.values(UNITS)) {
    command.option(`--${option} <share>`, description, removed, 0);
  }
  command
    .option(
      "--smaller <share>",
      "in place of --ffn: share of all parameters of the model to remove, as neurons",
      number("above 0 and below 1", (value) => value > 0 && value < 1),
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
  addSomeLayerOptions(command, "sparsity", "pattern", "bits").addOption(runtimeOption());
  addRunOptions(addTextOption(command), ...SHRINK_OPTIONS);
  const validation = command.options.find(({ long }) => long === "--validation")!,
    share = validation.defaultValue;
  validation.default(share, `${share} ${HELD_OUT_WITH}, else 0`);
  addCommonOptions(addBackendOption(addHostPoolOptions(command)));
  addExample(
    command,
    "shrink ./llama --out smaller --ffn 0.25 --text pare",
    "shrink ./llama --out smaller --calibration c4.jsonl --ffn 0.25 --reconstruct 5 --for gguf:q4_0",
  );
  return command.action((model: string, options: ShrinkOptions) => {
    // Held-out windows choose whether targets are kept, and the epoch of a reconstruction. Without both, they would choose nothing.
    const choosesNothing = Object.keys(reportedOptions(options)).length === 0;
    const isDefault = command.getOptionValueSource("validation") === "default";
    return shrink(model, options, choosesNothing && isDefault ? 0 : options.validation, signal);
  });
}

/** @param validation the share of the windows that the first run holds out. `options` have the share for the second run */
async function shrink(
  name: string,
  options: ShrinkOptions,
  validation: number,
  signal: AbortSignal,
): Promise<void> {
  const { out, smaller, blocks } = options;
  const given = unitKinds(options), kinds = smaller === undefined ? given : ["neurons" as const];
  if (smaller !== undefined && given.length + blocks > 0) {
    throw new UsageError(
      `option --smaller ${smaller}: removes neurons only, so give no other share and no --blocks`,
    );
  }
  if (kinds.length === 0 && blocks === 0) {
    throw new UsageError(
      `shrink: needs --smaller, ${
        Object.values(UNITS).map(({ option }) => `--${option}`).join(", ")
      } or --blocks`,
    );
  }
  const second = secondRun(options);
  if (options.plan && second) {
    throw new UsageError(
      "option --plan: plans the smaller model only, so it does not work with --sparsity, --pattern, --bits and --for",
    );
  }
  const solvesLayers = kinds.some((kind) => kind !== "experts");
  const trainsLater = second !== undefined && Object.keys(reportedOptions(second)).length > 0;
  const training = Object.entries(reportedOptions(options)).at(-1);
  if (!solvesLayers && !trainsLater && training) {
    throw new UsageError(
      `option --${training.join(" ")}: needs --ffn or --heads, because no other block changes without them`,
    );
  }
  await using cleanup = new AsyncDisposableStack();
  const model = await openRunModel(name, options, signal, cleanup);
  const ffn = smaller === undefined ? options.ffn : await ffnShare(model.stored, smaller);
  const command = { ...model, options: { ...options, ffn, validation } };
  if (second) return await shrinkAndPrune(command, second);
  await requireNoSmallerModel(out);
  const report = await shrinkInto(out, command);
  if (report) await printReport(report, out, model.output);
}

/** Returns the value of `--ffn` for one of `--smaller`. @throws {UsageError} {ModelError} as `neuronShare` does */
async function ffnShare(dense: ModelFolder, smaller: number): Promise<number> {
  try {
    return await neuronShare(dense, smaller);
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(`option ${error.message}`, { cause: error }) : error;
  }
}

/**
 * Shrinks the model into a folder inside the output folder, prunes the smaller model, and removes the folder. After a
 * failure the folder stays, so that the same command can continue.
 */
async function shrinkAndPrune(command: ShrinkCommand, second: PruneOptions): Promise<void> {
  const { stored: dense, options, output, signal } = command, { out } = options, { checkpoint } = dense;
  const smaller = `${out}/${SMALLER_FOLDER}`;
  const isContinued = await fs.list(smaller) !== undefined;
  await requireEmptyFolder(out, options.overwrite || isContinued);
  await checkSecondRun(second, dense, options);
  const bytes = bytesText(countWeightFileBytes(checkpoint.shards));
  output.remark(`the smaller model is in ${smaller} until the run ends, and takes less than ${bytes}`);
  if (options.restart) await fs.removeFolder(smaller);
  const report = (await shrinkInto(smaller, command))!; // there is no plan of two runs
  for (const line of resultLines(report)) output.remark(line);
  await prune(smaller, second, signal, { report, dense: checkpoint });
  await fs.removeFolder(smaller);
}

/**
 * Checks, before any work, that the second run will accept the smaller model.
 * @throws {UsageError} {ModelError} in the cases of `planUnits` and `resolveLayers`
 */
async function checkSecondRun(
  second: PruneOptions,
  dense: ModelFolder,
  options: ShrinkOptions,
): Promise<void> {
  const smaller = await withSmallerSizes(dense, planUnits(dense, options).kept, options.blocks);
  try {
    await resolveLayers(layerQuery(second), second, smaller);
  } catch (error) {
    const kind = [ModelError, UsageError].find((kind) => error instanceof kind);
    throw kind ? new kind(`the smaller model: ${(error as Error).message}`, { cause: error }) : error;
  }
}

/** Prints the sizes and the perplexities with the commands that load the model, or with `--json` the whole report. */
async function printReport(report: ShrinkReport, out: string, output: Output): Promise<void> {
  output.result({ ...report, out }, [...resultLines(report), `wrote ${out}`]);
  const change = `${removedShare(report)} fewer parameters`,
    advice = "try a smaller share or --reconstruct 5";
  const warnings = perplexityWarnings(report.perplexity, change, advice);
  const lines = output.json ? [] : await loadingLines(out, "dense");
  for (const line of [...warnings, ...lines]) output.remark(line);
}

function resultLines(report: ShrinkReport): string[] {
  const { parameters, bytes, perplexity } = report;
  return [
    ...removalLines(report),
    `${countText(parameters.shrunk)} of ${countText(parameters.dense)} parameters remain (${
      removedShare(report)
    } fewer), ` +
    `in ${bytesText(bytes.written)} instead of ${bytesText(bytes.dense)}`,
    ...reconstructionLines(report),
    ...perplexity.map(perplexityLine),
  ];
}
