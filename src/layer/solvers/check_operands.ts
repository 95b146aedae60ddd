/**
 * Checks of a solver's operands: a weight and its statistics must have the same columns and the same tiles, and no group of an n:m pattern
 * may cross the edge of a tile or block.
 */

import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import type { Factor } from "../linalg/factor.ts";
import { checkQuantization } from "../../tensor/quantization.ts";
import { type Pattern, wordsPerRow } from "../../tensor/pattern.ts";
import type { SparseGptOptions } from "./solver.ts";

/** A layer is larger than its method can handle. */
export class LayerSizeError extends RangeError {
  override name = "LayerSizeError";

  constructor(readonly method: string, message: string) {
    super(`${method}: ${message}`);
  }
}

/**
 * Checks that the statistics belong to the weight's columns.
 * @param statistics H or its factor R
 * @throws {RangeError} if the order of the statistics differs from the weight's columns, or their tile edges differ
 */
export function checkStatisticsFit(weight: TiledMatrix, statistics: TiledMatrix): void {
  if (weight.cols !== statistics.cols || weight.edge !== statistics.edge) {
    throw new RangeError(
      `the weight has ${weight.cols} columns in tiles of ${weight.edge}, ` +
        `but its statistics have order ${statistics.cols} in tiles of ${statistics.edge}`,
    );
  }
}

/**
 * Checks that every group of an n:m pattern lies within one block or tile of `size` columns.
 * @param what the name of the size in the error message
 * @throws {RangeError} if `size` is not a multiple of the group size
 */
export function checkGroupsFit(what: string, size: number, pattern: Pattern): void {
  if (pattern.kind === "n:m" && size % pattern.group !== 0) {
    throw new RangeError(
      `${what} ${size}: must be a multiple of ${pattern.group}, the group size of the pattern`,
    );
  }
}

/**
 * Checks the options of a pass that rounds weights, if they ask for one.
 * @throws {RangeError} that names the parameter, the rule and the value
 */
export function checkRounding(
  { rows, cols }: TiledMatrix,
  { blocksize, order }: Pick<Factor, "blocksize" | "order">,
  { pattern, quantization, fixedMask, gridRanges }: SparseGptOptions,
): void {
  if (quantization) {
    const patternGroup = pattern.kind === "n:m" ? pattern.group : 1;
    checkQuantization(quantization, { blocksize, patternGroup });
  }
  const orderOfFactor = order ? "activation" : "natural", wanted = quantization?.order ?? orderOfFactor;
  if (orderOfFactor !== wanted) {
    throw new RangeError(
      `order ${wanted}: needs a factor in this order, but the factor's order is ${orderOfFactor}`,
    );
  }
  if (order && pattern.kind === "n:m") {
    throw new RangeError(
      "an n:m pattern: needs a factor in natural order, but the factor's order is activation",
    );
  }
  if (gridRanges && quantization?.groupSize !== 0) {
    throw new RangeError(
      "ranges of grids: need quantization with group_size 0, because a range belongs to a row",
    );
  }
  if (!fixedMask) return;
  if (!quantization) {
    throw new RangeError("a fixed mask: needs quantization, because pruning alone chooses its own mask");
  }
  const expected = 4 * rows * wordsPerRow(cols);
  if (fixedMask.byteLength !== expected) {
    throw new RangeError(
      `a fixed mask of ${fixedMask.byteLength} bytes: must have ${expected} bytes for a weight of ${rows}×${cols}`,
    );
  }
}
