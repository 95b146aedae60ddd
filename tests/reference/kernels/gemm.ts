/**
 * The general matrix product α·op(A)·op(B) + β·C in float64, by the definition in the Level 3 BLAS (Dongarra
 * et al. 1990). The sums are neither blocked nor reordered. This file shares no code with `src`.
 */

import { eachElement, type Reference } from "../kernel_reference.ts";

/** A matrix in memory: row-major, with the first element at `offset` and the rows `ld` elements apart. */
export interface Stored {
  readonly values: ArrayLike<number>;
  readonly offset: number;
  readonly ld: number;
  /** Whether the operand of the product is the transpose of the stored matrix. */
  readonly transposed?: boolean;
}

function element(operand: Stored, row: number, col: number): number {
  const [r, c] = operand.transposed ? [col, row] : [row, col];
  return operand.values[operand.offset + r * operand.ld + c];
}

/**
 * Computes the product, where op(A) is (m, k), op(B) is (k, n) and C is (m, n). If β is 0, C is not read.
 *
 * @returns `product` and `magnitude`, both (m, n) row-major without padding. Element (i, j) of `magnitude` is
 * Σ_p |α·a_ip·b_pj| + |β·c_ij|, where a and b are the elements of op(A) and op(B). The rounding error of an
 * element of the product is proportional to the element of `magnitude`.
 */
export function referenceGemm(
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

/** Returns the reference of the matrix product with these stored transposes. */
function product(transposedA: boolean, transposedB: boolean): Reference {
  return ({ a, b, c }, p) => {
    const { product } = referenceGemm(
      [p.m, p.n, p.k],
      { values: a, offset: p.a_offset, ld: p.lda, transposed: transposedA },
      { values: b, offset: p.b_offset, ld: p.ldb, transposed: transposedB },
      { values: c, offset: p.c_offset, ld: p.ldc },
      p.alpha,
      p.beta,
    );
    eachElement(p.m, p.n, (i, j) => c[p.c_offset + i * p.ldc + j] = product[i * p.n + j]);
  };
}

export const gemm_nn: Reference = product(false, false);

export const gemm_nt: Reference = product(false, true);

export const gemm_tn: Reference = product(true, false);
