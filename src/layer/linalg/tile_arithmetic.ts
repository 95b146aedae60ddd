/** Elementwise arithmetic on whole matrices. All matrices of one call have the same shape and the same tile edge. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { maskedCombine, scaleTile } from "../../device/kernels/combine.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";

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
