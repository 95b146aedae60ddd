/** The general matrix product (GEMM of the BLAS) in naive float64, from its definition. It shares no code with `src`. */

/** An operand in memory: row-major, with its first element at `offset` and its rows `ld` elements apart. */
export interface Stored {
  readonly values: ArrayLike<number>;
  readonly offset: number;
  readonly ld: number;
  /** Whether the product uses the transpose of the stored matrix. */
  readonly transposed?: boolean;
}

function element(operand: Stored, row: number, col: number): number {
  const [r, c] = operand.transposed ? [col, row] : [row, col];
  return operand.values[operand.offset + r * operand.ld + c];
}

/**
 * Computes α·op(A)·op(B) + β·C, with op(A) (m, k) and op(B) (k, n). If β is 0, C is not read.
 * @returns the product, and for each element (i, j) its magnitude Σ_p |α·a_ip·b_pj| + |β·c_ij|, to which rounding errors are
 * proportional; both (m, n), row-major without padding
 */
export function gemm(
  [m, n, k]: readonly [m: number, n: number, k: number],
  a: Stored,
  b: Stored,
  c: Stored,
  alpha: number,
  beta: number,
): { product: Float64Array; magnitude: Float64Array } {
  const product = new Float64Array(m * n), magnitude = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0, size = 0;
      for (let p = 0; p < k; p++) {
        const term = element(a, i, p) * element(b, p, j);
        sum += term;
        size += Math.abs(term);
      }
      const old = beta === 0 ? 0 : beta * element(c, i, j);
      product[i * n + j] = alpha * sum + old;
      magnitude[i * n + j] = Math.abs(alpha) * size + Math.abs(old);
    }
  }
  return { product, magnitude };
}
