/**
 * Permutations of the columns of a layer. GPTQ (arXiv 2210.17323) can round the columns in the order of decreasing
 * diagonal entries of the Hessian H, which its published code calls the activation order. The columns with the largest
 * activations are then rounded while most columns are left to compensate for their errors.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { gatherBits, gatherColumns, gatherSymmetric } from "../../device/kernels/transfer/gather.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { allocateLike } from "./tile_arithmetic.ts";

/** A permutation of n columns, in the memory of the CPU and on the device. */
export interface ColumnOrder {
  /** (n) u32: column c after the permutation is column columns[c] before it. */
  readonly columns: Uint32Array<ArrayBuffer>;
  /** `columns` on the device. */
  readonly forward: DeviceBuffer;
  /** (n) u32 on the device: the permutation that undoes `forward`. */
  readonly inverse: DeviceBuffer;
  /** The size of both device buffers together, in bytes. */
  readonly byteLength: number;
  /** Frees the device memory. Idempotent. */
  destroy(): void;
}

/** Returns the columns in the order of decreasing diagonal entries of H. Of equal entries, the lower column first. */
export function activationOrder(diagonal: Float32Array): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(diagonal, (_, j) => j).sort((a, b) => diagonal[b] - diagonal[a] || a - b);
}

/** Copies a permutation to the device. @throws {OutOfDeviceMemoryError} */
export function uploadOrder(backend: Backend, columns: Uint32Array<ArrayBuffer>): ColumnOrder {
  const inverted = new Uint32Array(columns.length);
  columns.forEach((column, c) => inverted[column] = c);
  using allocated = new ResourceSet();
  const forward = allocated.add(createBufferOf(backend, "order of the columns", columns));
  const inverse = allocated.add(createBufferOf(backend, "inverse order of the columns", inverted));
  const owned = allocated.move();
  return { columns, forward, inverse, byteLength: 2 * columns.byteLength, destroy: () => owned.destroy() };
}

/**
 * Queues target(:, c) = source(:, order[c]) for all columns c of the target. Both matrices have the same rows and the same tile edge.
 * @param order (columns of the target) u32, such as `forward` or `inverse` of a `ColumnOrder`
 */
export function permuteColumns(
  backend: Backend,
  source: TiledMatrix,
  order: DeviceBuffer,
  target: TiledMatrix,
): void {
  for (const to of target.tiles()) {
    for (let j = 0; j < source.tileCols; j++) {
      const from = source.tile(Math.floor(to.row0 / source.edge), j);
      backend.dispatch(gatherColumns, { source: from.buffer, order, target: to.buffer }, {
        rows: to.rows,
        cols: to.cols,
        target_ld: to.ld,
        first: to.col0,
        source_ld: from.ld,
        source_first: from.col0,
        source_cols: from.cols,
      });
    }
  }
}

/**
 * Allocates a matrix of some columns of `source`, in tiles of the same edge, and queues copying them. The caller owns the result.
 * @throws {OutOfDeviceMemoryError}
 */
export function takeColumns(
  backend: Backend,
  source: TiledMatrix,
  columns: Uint32Array<ArrayBuffer>,
): TiledMatrix {
  const { label, rows, edge } = source;
  const target = new TiledMatrix(backend, { label: `columns of ${label}`, rows, cols: columns.length, edge });
  const order = createBufferOf(backend, "columns", columns);
  permuteColumns(backend, source, order, target);
  order.destroy();
  return target;
}

/**
 * Allocates a matrix, and queues target(r, c) = H(order[r], order[c]) for all its elements. H and the result are (n, n)
 * f32 in upper storage, with the same tiling. The caller owns the result.
 * @throws {OutOfDeviceMemoryError}
 */
export function permuteSymmetric(backend: Backend, h: TiledMatrix, order: DeviceBuffer): TiledMatrix {
  const target = allocateLike(backend, h, `${h.label} in another order`);
  for (const to of target.tiles()) {
    for (const from of h.tiles()) {
      backend.dispatch(gatherSymmetric, { source: from.buffer, order, target: to.buffer }, {
        rows: to.rows,
        cols: to.cols,
        target_ld: to.ld,
        row0: to.row0,
        first: to.col0,
        source_ld: from.ld,
        source_row0: from.row0,
        source_rows: from.rows,
        source_first: from.col0,
        source_cols: from.cols,
      });
    }
  }
  return target;
}

/**
 * Allocates a mask, and queues a copy of `mask` to it with permuted columns. Both masks have ⌈cols/32⌉ u32 words per
 * row. The caller owns the result.
 * @throws {OutOfDeviceMemoryError}
 */
export function permuteBits(
  backend: Backend,
  mask: DeviceBuffer,
  order: DeviceBuffer,
  { rows, cols }: Pick<TiledMatrix, "rows" | "cols">,
): DeviceBuffer {
  const target = backend.createBuffer(`${mask.label} in another order`, mask.byteLength);
  backend.dispatch(gatherBits, { source: mask, order, target }, { rows, cols, words: wordsPerRow(cols) });
  return target;
}
