/** The checks that keep a layer, its statistics and a pattern from being cut at different columns. */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Pattern } from "../sparsity/pattern.ts";

/** @throws {RangeError} when `statistics`, H or R, is of another order or tiling than the columns of `weight` */
export function checkStatisticsFit(weight: TiledMatrix, statistics: TiledMatrix): void {
  if (weight.cols !== statistics.cols || weight.edge !== statistics.edge) {
    throw new RangeError(
      `weight of ${weight.cols} columns in tiles of ${weight.edge}: ` +
        `its statistics are of order ${statistics.cols} in tiles of ${statistics.edge}`,
    );
  }
}

/** @throws {RangeError} when a group of the pattern would straddle two pieces of `size` columns */
export function checkGroupsFit(what: string, size: number, pattern: Pattern): void {
  if (pattern.kind === "n:m" && size % pattern.group !== 0) {
    throw new RangeError(`${what} ${size}: must be a multiple of the group of ${pattern.group}`);
  }
}
