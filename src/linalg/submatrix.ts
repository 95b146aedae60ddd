/** A rectangular window of a matrix that lies in a device buffer, the form in which kernels take their operands. */

import type { DeviceBuffer } from "../backend/backend.ts";
import type { Tile } from "../backend/tiled_matrix.ts";

/** The start of a row-major f32 submatrix in a buffer. The function that uses it supplies the number of rows and columns. */
export interface Submatrix {
  readonly buffer: DeviceBuffer;
  /** The index in the buffer of the submatrix's first element. */
  readonly offset: number;
  /** The leading dimension: the distance between the starts of two rows, in elements. */
  readonly ld: number;
}

/** The submatrix of `tile` that starts at (row, col), counted in the whole matrix and not in the tile. */
export function submatrixOf(tile: Tile, row: number, col: number): Submatrix {
  return {
    buffer: tile.buffer,
    offset: (row - tile.row0) * tile.ld + (col - tile.col0),
    ld: tile.ld,
  };
}
