/** Checks that the format of `--format` can store the layers as they will be pruned. */

import { unloadableReason, unstorableReason } from "../../model/formats/format.ts";
import type { WeightFormat } from "../../model/formats/formats.ts";
import { PACK_QUANTIZED, PACK_QUANTIZED_FORMAT } from "../../model/formats/pack_quantized.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { gridOfQuery } from "../../prune/quantized_model.ts";
import { describeGrid, type GridOptions } from "../../tensor/quantization.ts";
import { UsageError } from "../errors.ts";

/**
 * Checks, before any work, that the output format can store the pruned layers.
 * @throws {UsageError} if the format is pack-quantized and a layer is not rounded to a grid that the format can store,
 * if several layers have different kinds of asymmetric grids, or if other programs do not load the codes of a layer. The
 * message names the layer
 * @throws {UsageError} if the format is pack-quantized and the model is multimodal
 */
export function checkFormat(
  format: WeightFormat,
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
  { isTextPart }: Pick<ModelSpec, "isTextPart">,
): void {
  if (format !== PACK_QUANTIZED) return;
  if (isTextPart) {
    throw new UsageError(
      `option --format ${PACK_QUANTIZED}: lists all layers that are not quantised, but of a multimodal model, only those ` +
        "of the text part are known; use --format dense",
    );
  }
  let first: GriddedLayer | undefined;
  for (const { name, linear, cols } of layers) {
    const reason = unloadableReason(linear, PACK_QUANTIZED_FORMAT);
    if (reason !== undefined) {
      throw new UsageError(`option --format ${format}: ${name} ${reason}; use --format dense`);
    }
    const grid = checkGrid(name, queryOf(name), cols);
    first ??= { name, grid };
    checkKinds(first, { name, grid });
  }
}

/** A layer and its grid. */
interface GriddedLayer {
  readonly name: string;
  readonly grid: GridOptions;
}

/**
 * Checks that two grids are of one kind, or that both are symmetric. transformers loads asymmetric grids only with
 * `dequantize=True`. It then computes all layers as if they had the first kind of grid, without an error (measured with
 * version 5.24).
 */
function checkKinds(first: GriddedLayer, other: GriddedLayer): void {
  const isSame = describeGrid(first.grid) === describeGrid(other.grid);
  if (isSame || (first.grid.symmetric && other.grid.symmetric)) return;
  throw new UsageError(
    `option --format ${PACK_QUANTIZED}: several kinds of grids must be symmetric, because transformers loads ` +
      `asymmetric ones wrongly, but ${first.name} has ${describeGrid(first.grid)} and ${other.name} has ` +
      `${describeGrid(other.grid)}; add --symmetric, or give all layers the same kind`,
  );
}

/** Returns the grid of a layer. @throws {UsageError} if pack-quantized cannot store it */
function checkGrid(name: string, query: LayerQuery, cols: number): GridOptions {
  const grid = gridOfQuery(query);
  if (!grid) {
    throw new UsageError(
      `option --format ${PACK_QUANTIZED}: stores codes of 4 or 8 bits, but ${name} is not quantised; ` +
        "prune with --bits 4 or --bits 8, or use --format dense",
    );
  }
  if (query.scale_bits !== undefined && !grid.symmetric) {
    throw new UsageError(
      `option --format ${PACK_QUANTIZED}: stores zeros as integers, which asymmetric grids with scale_bits do not have, ` +
        `but ${name} has scale_bits ${query.scale_bits}; add --symmetric, or use --format dense`,
    );
  }
  const reason = unstorableReason(PACK_QUANTIZED_FORMAT, { ...grid, cols });
  if (reason === undefined) return grid;
  throw new UsageError(`option --format ${PACK_QUANTIZED}: ${name}: ${reason}`);
}
