/**
 * The option `--for` of `pare prune`, which names a format of another program. The run rounds weights to the grid of
 * this format, so that the output of `pare export` has exactly the weights of the run.
 */

import { basename, dirname } from "node:path";
import { CONFIG_FILE, readConfigText } from "../../model/checkpoint/checkpoint.ts";
import type { WeightFormat } from "../../model/formats/formats.ts";
import { widenedSource } from "../../model/checkpoint/tensor_source.ts";
import { parseJsonAt } from "../../base/files/whole_file.ts";
import type { FileSystem, WorkFileSystem } from "../../base/files/file_system.ts";
import { type DescribedModel, type Model, type ModelFolder, openModelFolder } from "../../model/model.ts";
import { linearLayers, type SizedLayer } from "../../prune/block_plan.ts";
import type { RunReport } from "../../prune/report/run_report.ts";
import { RUN_REPORT_FILE } from "../../prune/report/file_names.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { FormatTarget, PlannedExport } from "../export/export_format.ts";
import { type FormatName, FORMATS, RUNTIME_FORMATS } from "../export/formats.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { Output } from "../terminal/output.ts";
import type { LayerChoice } from "./choice_options.ts";

/** Returns the settings for a value of `--for`. */
export function targetOf(runtime: FormatName): FormatTarget {
  return FORMATS[runtime].target!; // the values of the option have one
}

/**
 * Checks the model, and sets the dtype of scales in the parameters of the run. The format has scales in F16. If the run
 * stores scales, in the dtype of the checkpoint, and this dtype is BF16, they are rounded to BF16, which F16 includes
 * except for very small and large numbers.
 * @throws {ModelError} if the model cannot be exported
 * @throws {UsageError} if `--scale-dtype` names another dtype
 */
export async function queryForRuntime(
  runtime: FormatName,
  format: WeightFormat,
  query: LayerQuery,
  opened: DescribedModel,
  fs: FileSystem,
): Promise<LayerQuery> {
  await targetOf(runtime).check(opened, fs);
  const { spec, weights } = opened.model;
  const hasBfloat16 = linearLayers(spec).some(({ name }) => weights.info(name).dtype === "BF16");
  const scaleDtype = hasBfloat16 && format !== "dense" ? "BF16" : "F16";
  const { scale_dtype: given = scaleDtype } = query;
  if (given !== scaleDtype) {
    throw new UsageError(`option --scale-dtype ${given}: --for ${runtime} sets it to ${scaleDtype}`);
  }
  return { ...query, scale_dtype: scaleDtype };
}

/**
 * Returns the model whose weights the run replaces. If the run writes dense weights for the format, the linear layers
 * are in F32, because narrower dtypes do not hold the products of codes and scales exactly.
 */
export function modelForRuntime<Opened extends { readonly model: Model }>(
  { for: runtime, format }: { readonly for?: FormatName; readonly format: WeightFormat },
  opened: Opened,
): Opened {
  if (runtime === undefined || format !== "dense") return opened;
  const { model: { spec, weights } } = opened;
  const narrow = new Set(
    linearLayers(spec).map(({ name }) => name).filter((name) => weights.info(name).dtype !== "F32"),
  );
  if (narrow.size === 0) return opened;
  return {
    ...opened,
    model: { spec, weights: widenedSource(weights, narrow) },
  };
}

/**
 * Fits the parameters of each layer to the length of its rows.
 * @throws {UsageError} if the format has no place for dense layers, but a layer is skipped, or if a layer has another
 *   grid than the format
 */
export function choiceForRuntime(
  runtime: FormatName,
  choice: LayerChoice,
  layers: readonly SizedLayer[],
): LayerChoice {
  const { roundsAll, queryOf = (query) => query } = targetOf(runtime);
  if (roundsAll && choice.skipped.length > 0) {
    throw new UsageError(
      `option --for ${runtime}: rounds all linear layers, but ${choice.skipped[0]} is skipped`,
    );
  }
  for (const { name } of layers) {
    const query = choice.queryOf(name);
    if (roundsAll || query.bits !== undefined) requireGrid(runtime, name, query);
  }
  const queries = new Map(layers.map(({ name, cols }) => [name, queryOf(choice.queryOf(name), cols)]));
  return { ...choice, queryOf: (name) => queries.get(name) ?? choice.queryOf(name) };
}

/** The parameters of a grid, by the options of `pare prune`. */
const GRID_PARAMETERS = {
  bits: "bits",
  groupSize: "group_size",
  symmetric: "symmetric",
  scaleBits: "scale_bits",
} as const;

/** @throws {UsageError} if a layer has another grid than the format, for example by a profile */
function requireGrid(runtime: FormatName, name: string, query: LayerQuery): void {
  const { options } = targetOf(runtime);
  for (const [option, parameter] of Object.entries(GRID_PARAMETERS)) {
    const { [option]: allowed = [undefined] }: { [option]?: readonly unknown[] } = options;
    const value = query[parameter] ?? (parameter === "symmetric" ? false : undefined);
    if (allowed.some((each) => String(each) === String(value))) continue;
    throw new UsageError(
      `option --for ${runtime}: ${parameter} must be ${
        allowed.map((each) => each ?? "absent").join(" or ")
      }, ` +
        `but is ${value ?? "absent"} for ${name}`,
    );
  }
}

/** Plans the export of a run. @param name the name of the model */
export function planForRuntime(
  runtime: FormatName,
  opened: ModelFolder,
  choice: LayerChoice,
  name: string,
): Promise<PlannedExport> {
  const queries = [...choice.chosen.keys()].map((layer) => [layer, choice.queryOf(layer)] as const);
  const rounded = new Map(queries.filter(([, { bits }]) => bits !== undefined));
  return targetOf(runtime).plan(opened, denoFileSystem, { name, queries: rounded });
}

/**
 * Whether the folder of a finished run has the export of this run. An export that is older than the report belongs to
 * an earlier run. The last file of an exported folder is its configuration.
 */
async function hasRuntimeOutput(
  runtime: FormatName,
  out: string,
  fs: WorkFileSystem,
): Promise<boolean> {
  const { path } = targetOf(runtime),
    last = FORMATS[runtime].output === "file" ? path : `${path}/${CONFIG_FILE}`;
  const isThere = (await fs.list(dirname(`${out}/${last}`)))?.includes(basename(last)) ?? false;
  return isThere && await fs.modified(`${out}/${last}`) >= await fs.modified(`${out}/${RUN_REPORT_FILE}`);
}

/** Removes the folders that an earlier run exported into `out`. Its files were removed with its checkpoint. */
export async function removeOldExports(out: string, fs: WorkFileSystem): Promise<void> {
  for (const runtime of RUNTIME_FORMATS) {
    const folder = `${out}/${targetOf(runtime).path}`;
    if (FORMATS[runtime].output === "file" || !(await fs.list(folder))?.includes(RUN_REPORT_FILE)) continue;
    await fs.removeFolder(folder);
  }
}

/** Exports the checkpoint of a finished run, unless the run has written the format itself. @param wasFinished whether an earlier command had finished the run */
export async function writeForRuntime(
  runtime: FormatName,
  out: string,
  { format, model: { name } }: RunReport,
  output: Output,
  signal: AbortSignal,
  wasFinished: boolean,
): Promise<void> {
  const target = targetOf(runtime), path = `${out}/${target.path}`;
  const isWritten = format === runtime || wasFinished && await hasRuntimeOutput(runtime, out, denoFileSystem);
  const lines = isWritten ? [] : await exportCheckpoint(runtime, out, name, signal);
  for (const line of lines) output.remark(line);
  if (!isWritten || !wasFinished) output.remark(`wrote ${path}`);
  const config = parseJsonAt(await readConfigText(denoFileSystem, out), out) as Record<string, unknown>;
  if (!output.json) output.remark(target.howToRun(path, config));
}

async function exportCheckpoint(
  runtime: FormatName,
  out: string,
  name: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  await using opened = await openModelFolder(out, denoFileSystem);
  const { lines } = await FORMATS[runtime].write(opened, `${out}/${targetOf(runtime).path}`, {
    round: false,
    name,
    signal,
  });
  return lines;
}
