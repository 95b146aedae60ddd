/** One matrix product on blocks of buffers: puts the operands' addresses into the kernel's parameters. */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Tile } from "../backend/tiled_matrix.ts";
import type { gemmNN, gemmNT, gemmTN } from "../kernels/gemm.ts";

/** A row-major block of f32 inside a buffer. */
export interface Block {
  readonly buffer: DeviceBuffer;
  /** Element of the buffer the block starts at. */
  readonly offset: number;
  /** Elements between rows. */
  readonly ld: number;
}

/** The block of `tile` that starts at element (row, col) of the whole matrix. */
export function blockOf(tile: Tile, row: number, col: number): Block {
  return {
    buffer: tile.buffer,
    offset: (row - tile.row0) * tile.ld + (col - tile.col0),
    ld: tile.ld,
  };
}

/** Extents and scalars of C ← α·op(A)·op(B) + β·C: C is (m, n), the inner extent is k. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** 1 unless given. */
  readonly alpha?: number;
  /** 0 unless given: C is then not read. */
  readonly beta?: number;
  /** Only the elements i ≤ j of C are needed. */
  readonly upper?: boolean;
}

/**
 * Queues one product; the kernel says which operand is transposed. C's buffer must be neither A's nor B's: WebGPU
 * refuses a buffer bound for reading and writing at once, even where the blocks are apart.
 */
export function gemm(
  backend: Backend,
  kernel: typeof gemmNN | typeof gemmNT | typeof gemmTN,
  a: Block,
  b: Block,
  c: Block,
  product: Product,
): void {
  const { m, n, k, alpha = 1, beta = 0, upper = false } = product;
  if (m === 0 || n === 0) return;
  backend.dispatch(kernel, { a: a.buffer, b: b.buffer, c: c.buffer }, {
    m,
    n,
    k,
    a_offset: a.offset,
    lda: a.ld,
    b_offset: b.offset,
    ldb: b.ld,
    c_offset: c.offset,
    ldc: c.ld,
    alpha,
    beta,
    upper: upper ? 1 : 0,
  });
}
