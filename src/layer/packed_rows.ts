/** Whether a matrix's rows can be moved to and from a file as they lie on the device. */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";

/**
 * Whether whole rows follow one another without gaps inside every tile, as they do in a file: there is one tile across, and its
 * rows need no padding. Otherwise rows are cut and gathered by `copy2d`.
 */
export function hasPackedRows(matrix: TiledMatrix): boolean {
  return matrix.tileCols === 1 && matrix.tile(0, 0).ld === matrix.cols;
}
