/**
 * Counts the floating-point operations of a solve by formula. A multiplication and an addition count as two
 * operations. A kernel may execute more or fewer operations.
 */

import { DEFAULT_BLOCKSIZE } from "../../../src/protocol/limits.ts";

/** The flops of one Cholesky factorisation of an (n, n) matrix: n³/3. */
export function factorFlops(n: number): number {
  return n ** 3 / 3;
}

/**
 * The flops of the SparseGPT solve of a (rows, n) layer in blocks of the default B columns: rows·n² to
 * correct each block for the errors of earlier blocks, 2·rows·B·n to multiply each block by a (B, B) matrix,
 * and rows·B·n to prune the blocks column by column.
 */
export function solveFlops(rows: number, n: number): number {
  return rows * n ** 2 + 3 * rows * n * DEFAULT_BLOCKSIZE;
}
