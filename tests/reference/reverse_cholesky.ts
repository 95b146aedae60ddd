/**
 * The reverse Cholesky factorization H = R·Rᵀ with R upper triangular, in naive float64, and the scaled residuals that measure the error
 * of a computed factor. The factorization is ordinary Cholesky started from the last column.
 */

/**
 * Factors H, (n, n). Only the upper triangle of `h` is read.
 * @returns R, (n, n) row-major. If a pivot is not positive, `failed` is its column and the columns before it are not computed.
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

function norm(a: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * a[i];
  return Math.sqrt(sum);
}

/** Returns the residual ‖H − R·Rᵀ‖/(n·‖H‖) in Frobenius norms. H, (n, n), is symmetric and stored whole. */
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

/** Returns the residual ‖U·R − I‖/(n·‖U‖·‖R‖) in Frobenius norms, where U, (n, n), approximates R⁻¹. */
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
