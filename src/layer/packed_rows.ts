/** Determines whether the rows of a matrix on the device have the layout that they have in a file. */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";

/**
 * Whether every tile holds whole rows of the matrix without gaps between them, as a file does. This is true if the matrix is one tile
 * wide and its rows need no padding. Otherwise the kernel `copy2d` must split the rows into tiles, or gather them from tiles.
 */
export function hasPackedRows(matrix: TiledMatrix): boolean {
  return matrix.tileCols === 1 && matrix.tile(0, 0).ld === matrix.cols;
}
