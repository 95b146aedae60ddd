/**
 * `Submatrix` describes a rectangular part of a matrix that lies in one device buffer. Kernels take their operands in
 * this form. The file also has functions that copy a submatrix, or a whole matrix, on the device.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { type Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { copy2d } from "../../device/kernels/transfer/copy2d.ts";
import type { IndexRange } from "./blocking.ts";

/** The position of a row-major f32 submatrix in a buffer. The number of rows and columns is passed separately. */
export interface Submatrix {
  readonly buffer: DeviceBuffer;
  /** The index in the buffer of the submatrix's first element. */
  readonly offset: number;
  /** The leading dimension: the distance between the starts of two rows, in elements. */
  readonly ld: number;
}

/** Returns the submatrix of `tile` that starts at row `row` and column `col` of the whole matrix, not of the tile. */
export function submatrixOf(tile: Tile, row: number, col: number): Submatrix {
  return {
    buffer: tile.buffer,
    offset: (row - tile.row0) * tile.ld + (col - tile.col0),
    ld: tile.ld,
  };
}

/** Returns the index of the tile column that contains `columns`. */
export function tileColumn(matrix: TiledMatrix, columns: IndexRange): number {
  return Math.floor(columns.start / matrix.edge);
}

/** Queues copying a (rows, cols) submatrix from `source` to `target`. The two must lie in different buffers. */
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

/** Queues copying the given rows of `source` to `target`, whose first row receives row `rows.start`. */
export function copyRows(backend: Backend, source: TiledMatrix, rows: IndexRange, target: Submatrix): void {
  for (const { tile, row, count } of partsOfRows(source, rows)) {
    const to = { ...target, offset: target.offset + (row - rows.start) * target.ld + tile.col0 };
    copySubmatrix(backend, submatrixOf(tile, row, tile.col0), to, count, tile.cols);
  }
}

/** Queues copying whole rows to the given rows of `target`. The first row of `source` becomes row `rows.start`. */
export function scatterRows(
  backend: Backend,
  source: Submatrix,
  target: TiledMatrix,
  rows: IndexRange,
): void {
  for (const { tile, row, count } of partsOfRows(target, rows)) {
    const from = { ...source, offset: source.offset + (row - rows.start) * source.ld + tile.col0 };
    copySubmatrix(backend, from, submatrixOf(tile, row, tile.col0), count, tile.cols);
  }
}

/** Yields the tiles that have some of the given rows, each with the first of these rows and their number. */
function* partsOfRows(matrix: TiledMatrix, rows: IndexRange) {
  for (const tile of matrix.tiles()) {
    const row = Math.max(tile.row0, rows.start);
    const count = Math.min(tile.row0 + tile.rows, rows.end) - row;
    if (count > 0) yield { tile, row, count };
  }
}

/**
 * Allocates a matrix with tiles of edge `edge`, and queues copying `source` to it. Both matrices have the same shape
 * and storage. The caller owns the new matrix.
 * @throws {OutOfDeviceMemoryError}
 */
export function copyTiled(backend: Backend, source: TiledMatrix, edge: number): TiledMatrix {
  const { label, rows, cols, storage } = source;
  const target = new TiledMatrix(backend, { label: `${label} (copy)`, rows, cols, edge, storage });
  for (const to of target.tiles()) {
    for (const from of source.tiles()) copyOverlap(backend, from, to);
  }
  return target;
}

/** Queues copying the elements that both tiles cover. */
function copyOverlap(backend: Backend, from: Tile, to: Tile): void {
  const row = Math.max(from.row0, to.row0), col = Math.max(from.col0, to.col0);
  const rows = Math.min(from.row0 + from.rows, to.row0 + to.rows) - row;
  const cols = Math.min(from.col0 + from.cols, to.col0 + to.cols) - col;
  if (rows <= 0 || cols <= 0) return;
  copySubmatrix(backend, submatrixOf(from, row, col), submatrixOf(to, row, col), rows, cols);
}
