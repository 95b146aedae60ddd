/** Decides whether the rows of a matrix on the device have the layout of a file. */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";

/**
 * Whether whole rows follow each other without gaps inside every tile, as they do in a file. This holds if the matrix is one tile wide
 * and its rows need no padding. Otherwise the kernel `copy2d` must cut or gather the rows.
 */
export function hasPackedRows(matrix: TiledMatrix): boolean {
  return matrix.tileCols === 1 && matrix.tile(0, 0).ld === matrix.cols;
}
