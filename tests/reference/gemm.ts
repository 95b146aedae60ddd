/** The general matrix product by its definition, in float64. Nothing is blocked, reordered or shared with the code under test. */

/** One operand as stored: row-major, its first element at `offset`, `ld` elements between rows. */
export interface Stored {
  readonly values: ArrayLike<number>;
  readonly offset: number;
  readonly ld: number;
  /** Reads the operand as its transpose. */
  readonly transposed?: boolean;
}

function element(operand: Stored, row: number, col: number): number {
  const [r, c] = operand.transposed ? [col, row] : [row, col];
  return operand.values[operand.offset + r * operand.ld + c];
}

/**
 * α·op(A)·op(B) + β·C, and Σ_p |α·a_ip·b_pj| + |β·c_ij| beside it: the scale that rounding errors of element (i, j) go by.
 * Both (m, n), row-major without padding. With β = 0, C is not read.
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
