/**
 * Copies and elementwise arithmetic of matrices on the device. `Submatrix` describes a rectangular part of a matrix that
 * lies in one device buffer, and kernels take their operands in this form. The other functions take whole matrices. All
 * matrices of one call then have the same shape and the same tile edge, except in `copyTiled`.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { maskedCombine, scaleTile } from "../../device/kernels/combine.ts";
import { rowExtremes } from "../../device/kernels/quantization.ts";
import { copy2d } from "../../device/kernels/transfer/copy2d.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type IndexRange, type Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";

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

/** The factors of X and Y in a masked combination, for the entries that the mask keeps and for those that it prunes. */
interface CombineFactors {
  readonly keptX: number;
  readonly keptY: number;
  readonly prunedX: number;
  readonly prunedY: number;
}

/**
 * Queues Y ← keptX·X + keptY·Y at the entries that the mask keeps, and Y ← prunedX·X + prunedY·Y at the others. The
 * mask has one bit per entry in the layout of `Solution.mask`. All values must be finite, even if their factor is 0.
 */
export function combineMasked(
  backend: Backend,
  x: TiledMatrix,
  y: TiledMatrix,
  mask: DeviceBuffer,
  factors: CombineFactors,
): void {
  const words = wordsPerRow(y.cols);
  for (const [tileX, tileY] of tilePairs(x, y)) {
    const { rows, cols, ld, row0, col0: first } = tileY;
    backend.dispatch(maskedCombine, { x: tileX.buffer, mask, y: tileY.buffer }, {
      rows,
      cols,
      ld,
      row0,
      first,
      words,
      kept_x: factors.keptX,
      kept_y: factors.keptY,
      pruned_x: factors.prunedX,
      pruned_y: factors.prunedY,
    });
  }
}

/** Queues Y ← Y + factor·X. The kernel needs a mask as an operand, but the bits of the mask do not matter. */
export function addScaled(
  backend: Backend,
  x: TiledMatrix,
  factor: number,
  y: TiledMatrix,
  mask: DeviceBuffer,
): void {
  combineMasked(backend, x, y, mask, { keptX: factor, keptY: 1, prunedX: factor, prunedY: 1 });
}

/** Queues X ← X·diag(factors). `factors` is (cols) f32. */
export function scaleColumns(backend: Backend, x: TiledMatrix, factors: DeviceBuffer): void {
  scaleTiles(backend, x, factors, 0);
}

/** Queues X ← diag(factors)·X·diag(factors) for the stored tiles of a square matrix. `factors` is (n) f32. */
export function scaleRowsAndColumns(backend: Backend, x: TiledMatrix, factors: DeviceBuffer): void {
  scaleTiles(backend, x, factors, 1);
}

function scaleTiles(backend: Backend, x: TiledMatrix, factors: DeviceBuffer, hasLeft: 0 | 1): void {
  for (const { buffer, rows, cols, ld, row0, col0: first } of x.tiles()) {
    const params = { rows, cols, ld, row0, first, has_left: hasLeft };
    backend.dispatch(scaleTile, { left: factors, right: factors, x: buffer }, params);
  }
}

/** Queues `target` ← `source`. */
export function copyMatrix(backend: Backend, source: TiledMatrix, target: TiledMatrix): void {
  for (const [from, to] of tilePairs(source, target)) {
    backend.copy(from.buffer, 0, to.buffer, 0, from.buffer.byteLength);
  }
}

/** Queues `target` ← `source` at the entries that the mask keeps, and `target` ← 0 at the others. */
export function copyMasked(
  backend: Backend,
  source: TiledMatrix,
  target: TiledMatrix,
  mask: DeviceBuffer,
): void {
  copyMatrix(backend, source, target);
  // Pruned entries become X − X instead of 0·X, because 0·X may be −0.
  combineMasked(backend, source, target, mask, { keptX: 1, keptY: 0, prunedX: 1, prunedY: -1 });
}

/** Allocates a matrix with the shape and tiling of `model`, and undefined contents. @throws {OutOfDeviceMemoryError} */
export function allocateLike(backend: Backend, model: TiledMatrix, label: string): TiledMatrix {
  const { rows, cols, edge, storage } = model;
  return new TiledMatrix(backend, { label, rows, cols, edge, storage });
}

/** Yields the pairs of tiles that have the same position in two matrices. */
export function* tilePairs(x: TiledMatrix, y: TiledMatrix) {
  const tilesOfY = y.tiles();
  for (const tile of x.tiles()) yield [tile, tilesOfY.next().value!] as const;
}

/** Queues multiplying all elements of `matrix` by `factor`. */
export function scaleBy(backend: Backend, matrix: TiledMatrix, factor: number): void {
  const values = new Float32Array(matrix.cols).fill(factor);
  const factors = createBufferOf(backend, "scale of a matrix", values);
  scaleColumns(backend, matrix, factors);
  factors.destroy();
}

/** Returns the largest magnitude of an element. Waits for the device. @throws {OutOfDeviceMemoryError} {DeviceLostError} */
export async function largestMagnitude(backend: Backend, matrix: TiledMatrix): Promise<number> {
  using owned = new ResourceSet();
  const bytes = 4 * matrix.rows;
  const lows = owned.add(backend.createBuffer("smallest elements", bytes));
  const highs = owned.add(backend.createBuffer("largest elements", bytes));
  backend.clear(lows);
  backend.clear(highs);
  for (const { buffer: w, rows, cols, ld, row0 } of matrix.tiles()) {
    backend.dispatch(rowExtremes, { w, lows, highs }, { rows, cols, ld, row0 });
  }
  // Both are read at once, because each read waits for the device.
  const both = owned.add(backend.createBuffer("extreme elements", 2 * bytes));
  backend.copy(lows, 0, both, 0, bytes);
  backend.copy(highs, 0, both, bytes, bytes);
  const extremes = new Float32Array((await backend.read(both, 0, 2 * bytes)).buffer);
  return extremes.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

/** Returns the diagonal from the first element of `square` on as a column, whose elements are one row and one column apart. */
export function diagonalOf({ buffer, offset, ld }: Submatrix): Submatrix {
  return { buffer, offset, ld: ld + 1 };
}

/** Reads the diagonal of `matrix`, (n) f32. Waits for the device. @throws {OutOfDeviceMemoryError} {DeviceLostError} */
export async function readDiagonal(
  backend: Backend,
  matrix: TiledMatrix,
): Promise<Float32Array<ArrayBuffer>> {
  using scratch = new ResourceSet();
  const buffer = scratch.add(backend.createBuffer("diagonal", 4 * matrix.cols));
  for (const { column, offset, rows } of diagonals(matrix)) {
    copySubmatrix(backend, column, { buffer, offset, ld: 1 }, rows, 1);
  }
  return new Float32Array((await backend.read(buffer, 0, 4 * matrix.cols)).buffer);
}

/** Queues writing `values`, (n) f32, to the diagonal of `matrix`. */
export function writeDiagonal(
  backend: Backend,
  matrix: TiledMatrix,
  values: Float32Array<ArrayBuffer>,
): void {
  const buffer = createBufferOf(backend, "diagonal", values);
  for (const { column, offset, rows } of diagonals(matrix)) {
    copySubmatrix(backend, { buffer, offset, ld: 1 }, column, rows, 1);
  }
  buffer.destroy();
}

/** Yields the diagonals of the tiles on the diagonal, and the index of the first element of each. */
function* diagonals(matrix: TiledMatrix) {
  for (let i = 0; i < matrix.tileRows; i++) {
    const { buffer, rows, ld, row0: offset } = matrix.tile(i, i);
    yield { column: diagonalOf({ buffer, offset: 0, ld }), offset, rows };
  }
}
