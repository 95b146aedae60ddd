/**
 * Copies a symmetric matrix, stored as its upper triangle, to a new matrix that may have another tile edge. A solve overwrites its
 * statistics, so a layer that uses stored statistics is given a copy of them.
 */

import type { Backend } from "../backend/backend.ts";
import { type Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { copySubmatrix } from "../linalg/copy_submatrix.ts";
import { submatrixOf } from "../linalg/submatrix.ts";

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
