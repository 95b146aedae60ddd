/**
 * A rectangular part of a matrix that lies in a device buffer. Kernels take their operands in this form. This file also copies
 * submatrices and whole symmetric matrices on the device.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { type Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { copy2d } from "../kernels/transfer/copy2d.ts";

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

/** Queues target ← source for a submatrix of (rows, cols). `source` and `target` must lie in different buffers. */
export function copySubmatrix(
  backend: Backend,
  source: Submatrix,
  target: Submatrix,
  rows: number,
  cols: number,
): void {
  backend.dispatch(copy2d, { source: source.buffer, target: target.buffer }, {
    rows,
    cols,
    source_offset: source.offset,
    source_ld: source.ld,
    target_offset: target.offset,
    target_ld: target.ld,
  });
}

/**
 * Allocates a matrix with tiles of edge `edge`, and queues the copy of `source` to it. Both are (n, n) f32 in upper storage. The caller
 * owns the new matrix.
 * @throws {OutOfDeviceMemoryError}
 */
export function copyUpper(backend: Backend, source: TiledMatrix, edge: number): TiledMatrix {
  const { label, rows, cols } = source;
  const target = new TiledMatrix(backend, { label: `${label} (copy)`, rows, cols, edge, storage: "upper" });
  for (const to of target.tiles()) {
    for (const from of source.tiles()) copyOverlap(backend, from, to);
  }
  return target;
}

/** Queues the copy of the elements that both tiles cover. */
function copyOverlap(backend: Backend, from: Tile, to: Tile): void {
  const row = Math.max(from.row0, to.row0), col = Math.max(from.col0, to.col0);
  const rows = Math.min(from.row0 + from.rows, to.row0 + to.rows) - row;
  const cols = Math.min(from.col0 + from.cols, to.col0 + to.cols) - col;
  if (rows <= 0 || cols <= 0) return;
  copySubmatrix(backend, submatrixOf(from, row, col), submatrixOf(to, row, col), rows, cols);
}
