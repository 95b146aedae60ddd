/** Copies the upper triangle of a matrix to a matrix with another tile edge. A solve overwrites its statistics, so it gets a copy of stored ones. */

import type { Backend } from "../backend/backend.ts";
import { type Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { copySubmatrix } from "../linalg/copy_submatrix.ts";
import { submatrixOf } from "../linalg/submatrix.ts";

/**
 * Queues a copy of `source`, (n, n) f32, upper storage, to tiles of edge `edge`.
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

function copyOverlap(backend: Backend, from: Tile, to: Tile): void {
  const row = Math.max(from.row0, to.row0), col = Math.max(from.col0, to.col0);
  const rows = Math.min(from.row0 + from.rows, to.row0 + to.rows) - row;
  const cols = Math.min(from.col0 + from.cols, to.col0 + to.cols) - col;
  if (rows <= 0 || cols <= 0) return;
  copySubmatrix(backend, submatrixOf(from, row, col), submatrixOf(to, row, col), rows, cols);
}
