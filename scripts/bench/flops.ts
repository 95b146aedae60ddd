/** Work of the solve by formula, a multiply and an add counted as two. What a kernel really executes is its own business. */

/** Columns a block, the default of the requests the benches send. */
const BLOCK_SIZE = 128;

/** n³/3: one Cholesky factorisation of an (n, n) matrix. */
export function factorFlops(n: number): number {
  return n ** 3 / 3;
}

/** rows·n² in the lazy updates, 2·rows·B·n to bring A_k through U_kk and rows·B·n in the column loops. */
export function solveFlops(rows: number, n: number, blocksize = BLOCK_SIZE): number {
  return rows * n ** 2 + 3 * rows * n * blocksize;
}
