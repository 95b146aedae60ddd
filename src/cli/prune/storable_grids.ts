/**
 * The default grids of formats with codes. Of `pack-quantized`, plain transformers 5 loads symmetric grids only, and
 * llama.cpp's converter needs groups of 32 inputs.
 */

import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import type { WrittenFormat } from "../../model/formats/format.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { type FloatDtype, isFloatDtype } from "../../tensor/dtype.ts";
import { parsePattern } from "../../tensor/pattern.ts";
import { gridOfQuery } from "../../prune/quantized_model.ts";
import type { LayerChoice } from "./choice_options.ts";

const GROUP_SIZE = 32;

/**
 * Fills in the parameters of a rounded layer. If there is no group size, and the order of rounding allows groups, the
 * grids are symmetric and for groups of 32 columns. They are for whole rows if 32 is not a multiple of the pattern's
 * group, or the block size no multiple of 32. By default the scales are rounded to the dtype in which they are stored, or
 * to BF16 if the weights are in BF16.
 * @param dtype the dtype of the weights. Undefined if they have several
 */
export function storableQuery(
  query: LayerQuery,
  dtype: FloatDtype | undefined,
  { writer }: WrittenFormat,
): LayerQuery {
  const stored = dtype && dtype !== "BF16" ? writer.scaleDtype ?? dtype : dtype;
  const { bits, group_size, order, pattern, blocksize, scale_dtype = stored } = query;
  if (bits === undefined) return query;
  const parsed = pattern === undefined ? undefined : parsePattern(pattern);
  const patternGroup = parsed?.kind === "n:m" ? parsed.group : 1;
  const isDivisible = GROUP_SIZE % patternGroup === 0 && (blocksize ?? GROUP_SIZE) % GROUP_SIZE === 0;
  const isNamed = group_size !== undefined || order === "activation";
  const grid = isNamed ? {} : { group_size: isDivisible ? GROUP_SIZE : 0, symmetric: true };
  return { ...query, ...grid, ...scale_dtype && { scale_dtype } };
}

/** Returns the dtype of all layers, or undefined if they have several. */
export function commonDtype(layers: readonly SizedLayer[], weights: TensorSource): FloatDtype | undefined {
  const [dtype, ...others] = new Set(layers.map(({ name }) => weights.info(name).dtype));
  return others.length === 0 && isFloatDtype(dtype) ? dtype : undefined;
}

/**
 * Applies {@link storableQuery} to the parameters of each layer, because rules of a profile may have added bits. A
 * layer with symmetric grids whose rows are not a multiple of the group size gets one grid per row, if the format has such grids.
 * @returns the choice, and the names of the layers that get one grid per row for this reason
 */
export function storableChoice(
  choice: LayerChoice,
  layers: readonly SizedLayer[],
  weights: TensorSource,
  format: WrittenFormat,
): { readonly choice: LayerChoice; readonly perRow: readonly string[] } {
  const perRow: string[] = [];
  const queries = new Map(layers.map((layer): [string, LayerQuery] => {
    const { name, cols } = layer,
      query = storableQuery(choice.queryOf(name), commonDtype([layer], weights), format);
    const grid = gridOfQuery(query), hasFittingGroups = !grid?.groupSize || cols % grid.groupSize === 0;
    if (!grid?.symmetric || hasFittingGroups || format.writer.isUniform) return [name, query];
    perRow.push(name);
    return [name, { ...query, group_size: 0 }];
  }));
  return { choice: { ...choice, queryOf: (name) => queries.get(name) ?? choice.queryOf(name) }, perRow };
}
