/** Checks that a format with codes can store the layers as they will be pruned. */

import { unloadableReason, unstorableReason, type WrittenFormat } from "../../model/formats/format.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { gridOfQuery } from "../../prune/quantized_model.ts";
import { describeGrid, type GridOptions } from "../../tensor/quantization.ts";
import { UsageError } from "../errors.ts";
import type { LayerChoice } from "./choice_options.ts";

/**
 * Checks, before any work, that the output format can store the pruned layers.
 * @throws {UsageError} if a layer is not rounded to a grid that the format can store, if the grids of several layers differ
 * more than the format allows, or if other programs do not load the codes of a layer. The message names the layer
 * @throws {UsageError} if the model is multimodal
 */
export function checkFormat(
  format: WrittenFormat,
  layers: readonly SizedLayer[],
  { queryOf, skipped }: Pick<LayerChoice, "queryOf" | "skipped">,
  { isTextPart }: Pick<ModelSpec, "isTextPart">,
): void {
  const { name: formatName, writer: { isUniform } } = format, option = `option --format ${formatName}:`;
  if (isTextPart) {
    throw new UsageError(
      `${option} lists all layers that are not quantised, but of a multimodal model, only those ` +
        "of the text part are known; use --format dense",
    );
  }
  if (isUniform && skipped.length > 0) {
    throw new UsageError(`${option} rounds all linear layers, but ${skipped[0]} is skipped`);
  }
  let first: GriddedLayer | undefined;
  for (const { name, linear, cols } of layers) {
    const reason = unloadableReason(linear, format);
    if (reason !== undefined) {
      throw new UsageError(`${option} ${name} ${reason}; use --format dense`);
    }
    const grid = checkGrid(format, name, queryOf(name), cols);
    first ??= { name, grid };
    checkKinds(format, first, { name, grid });
  }
}

/** A layer and its grid. */
interface GriddedLayer {
  readonly name: string;
  readonly grid: GridOptions;
}

/**
 * Checks that two grids are of one kind, or that both are symmetric and the format is not uniform. transformers loads
 * asymmetric grids only with `dequantize=True`. It then computes all layers as if they had the first kind of grid, without
 * an error (measured with version 5.24).
 */
function checkKinds(
  { name, writer: { isUniform } }: WrittenFormat,
  first: GriddedLayer,
  other: GriddedLayer,
): void {
  const kinds = [first, other].map(({ grid }) => describeGrid(grid));
  if (kinds[0] === kinds[1] || !isUniform && first.grid.symmetric && other.grid.symmetric) return;
  const [rule, advice] = isUniform ? ["has one kind of grid for all layers", ""] : [
    "several kinds of grids must be symmetric, because transformers loads asymmetric ones wrongly",
    "add --symmetric, or ",
  ];
  throw new UsageError(
    `option --format ${name}: ${rule}, but ${first.name} has ${kinds[0]} and ${other.name} has ` +
      `${kinds[1]}; ${advice}give all layers the same kind`,
  );
}

/** Returns the grid of a layer. @throws {UsageError} if the format cannot store it */
function checkGrid(format: WrittenFormat, name: string, query: LayerQuery, cols: number): GridOptions {
  const grid = gridOfQuery(query),
    { bits, scaleDtype } = format.writer,
    option = `option --format ${format.name}:`;
  if (!grid) {
    throw new UsageError(
      `${option} stores codes of ${bits.join(" or ")} bits, but ${name} is not quantised; ` +
        `prune with --bits ${bits[0]}, or use --format dense`,
    );
  }
  const reason = !grid.symmetric && query.scale_bits !== undefined
    ? `needs integers as zeros, but asymmetric grids with scale_bits ${query.scale_bits} have others; add --symmetric`
    : query.scale_dtype === "F32" && scaleDtype !== undefined
    ? `${format.name} stores scales in ${scaleDtype}, not in F32; leave out --scale-dtype`
    : unstorableReason(format, { ...grid, cols });
  if (reason === undefined) return grid;
  throw new UsageError(`${option} ${name}: ${reason}`);
}
