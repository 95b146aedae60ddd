/**
 * The reverse Cholesky factorization H = R·Rᵀ with R upper triangular, in naive float64, and the scaled residuals that measure
 * the accuracy of a factor. The reverse factorization is the Cholesky factorization (Golub & Van Loan, Matrix Computations,
 * section 4.2) with rows and columns in reverse order. SparseGPT needs U = R⁻¹, because H⁻¹ = UᵀU.
 */

import { eachElement, packed, type Reference } from "../kernel_reference.ts";

/**
 * Computes R, (n, n) row-major, from the last column to the first. Only the upper triangle of `h` is read.
 *
 * @returns R, and in `failed` the index of the column at which the pivot was not positive, if there was one
 */
export function referenceReverseCholesky(
  h: ArrayLike<number>,
  n: number,
): { r: Float64Array; failed?: number } {
  const r = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = h[i * n + j];
      for (let l = j + 1; l < n; l++) sum -= r[i * n + l] * r[j * n + l];
      if (i === j && !(sum > 0)) return { r, failed: j };
      r[i * n + j] = i === j ? Math.sqrt(sum) : sum / r[j * n + j];
    }
  }
  return { r };
}

/** The Frobenius norm. */
function norm(a: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * a[i];
  return Math.sqrt(sum);
}

/** The residual ‖H − R·Rᵀ‖/(n·‖H‖) in Frobenius norms, for a symmetric H. */
export function factorResidual(h: ArrayLike<number>, r: ArrayLike<number>, n: number): number {
  const difference = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = h[i * n + j];
      for (let l = 0; l < n; l++) sum -= r[i * n + l] * r[j * n + l];
      difference[i * n + j] = sum;
    }
  }
  return norm(difference) / (n * norm(h));
}

/** The residual ‖U·R − I‖/(n·‖U‖·‖R‖) in Frobenius norms. */
export function inverseResidual(u: ArrayLike<number>, r: ArrayLike<number>, n: number): number {
  const difference = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = i === j ? -1 : 0;
      for (let l = 0; l < n; l++) sum += u[i * n + l] * r[l * n + j];
      difference[i * n + j] = sum;
    }
  }
  return norm(difference) / (n * norm(u) * norm(r));
}

/** Returns the inverse of R, (n, n) upper triangular, by back substitution. */
function invertUpper(r: Float64Array, n: number): Float64Array {
  const u = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    for (let i = j; i >= 0; i--) {
      let sum = i === j ? 1 : 0;
      for (let k = i + 1; k <= j; k++) sum -= r[i * n + k] * u[k * n + j];
      u[i * n + j] = sum / r[i * n + i];
    }
  }
  return u;
}

export const reverse_cholesky: Reference = ({ h, r, u, diagonal, status }, p) => {
  if (status[0] !== 0) return;
  const { r: factor, failed } = referenceReverseCholesky(packed(h, p.size, p.size, p.offset, p.ld), p.size);
  if (failed !== undefined) {
    status[0] = p.first + failed + 1;
    return;
  }
  const inverse = invertUpper(factor, p.size);
  eachElement(p.size, p.size, (i, j) => {
    r[p.r_offset + i * p.ldr + j] = factor[i * p.size + j];
    u[p.u_offset + i * p.ldu + j] = inverse[i * p.size + j];
    if (i === j) diagonal[p.first + j] = factor[i * p.size + j];
  });
};
