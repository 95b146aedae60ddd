/** The values `gguf:TYPE` of the option `--for` of `pare prune`, with which the run writes a file in place of a checkpoint. */

import { widenedSource } from "../../model/checkpoint/tensor_source.ts";
import type { DescribedModel, Model, ModelFolder } from "../../model/model.ts";
import { linearLayers, type SizedLayer } from "../../prune/block_plan.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { FileTarget, PlannedExport } from "../export/export_format.ts";
import { type FormatName, FORMATS } from "../export/formats.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { LayerChoice } from "./choice_options.ts";

/** Returns how a run writes a file for `--for`. Undefined if it writes a checkpoint. */
export function fileTarget(runtime: FormatName | undefined): FileTarget | undefined {
  return FORMATS[runtime ?? ""]?.file;
}

/**
 * Checks the model, and sets the dtype of scales in the parameters of a run that writes a file, which has scales in F16.
 * @throws {ModelError} if the model cannot be exported
 * @throws {UsageError} if `--scale-dtype` names another dtype
 */
export async function queryForRuntime(
  runtime: FormatName | undefined,
  query: LayerQuery,
  opened: DescribedModel,
): Promise<LayerQuery> {
  const target = fileTarget(runtime);
  if (!target) return query;
  await target.check(opened, denoFileSystem);
  const { scale_dtype: given = "F16" } = query;
  if (given !== "F16") {
    throw new UsageError(`option --scale-dtype ${given}: --for ${runtime} sets it to F16`);
  }
  return { ...query, scale_dtype: "F16" };
}

/**
 * Returns the model whose weights the run replaces. If the run writes a file, the linear layers are in F32, because narrower dtypes do
 * not hold the products of codes and scales exactly.
 */
export function modelForRuntime<Opened extends { readonly model: Model }>(
  runtime: FormatName | undefined,
  opened: Opened,
): Opened {
  if (!fileTarget(runtime)) return opened;
  const { model: { spec, weights } } = opened;
  const names = new Set(linearLayers(spec).map(({ name }) => name));
  return { ...opened, model: { spec, weights: widenedSource(weights, names) } };
}

/**
 * Fits the parameters of each layer to the length of its rows.
 * @throws {UsageError} if a rounded layer has another grid than the options of `--for`, for example by a profile
 */
export function choiceForRuntime(
  runtime: FormatName | undefined,
  choice: LayerChoice,
  layers: readonly SizedLayer[],
): LayerChoice {
  const target = fileTarget(runtime);
  if (!target) return choice;
  const queries = new Map(
    layers.map((layer) => [layer.name, target.queryOf(layer, choice.queryOf(layer.name))]),
  );
  return { ...choice, queryOf: (name) => queries.get(name) ?? choice.queryOf(name) };
}

/** Plans the file of a run. Returns undefined if the run writes a checkpoint. @param name the name of the model */
export async function planForRuntime(
  runtime: FormatName | undefined,
  opened: ModelFolder,
  choice: LayerChoice,
  name: string,
): Promise<PlannedExport | undefined> {
  const queries = [...choice.chosen.keys()].map((layer) => [layer, choice.queryOf(layer)] as const);
  const rounded = new Map(queries.filter(([, { bits }]) => bits !== undefined));
  return await fileTarget(runtime)?.plan(opened, denoFileSystem, { name, queries: rounded });
}
