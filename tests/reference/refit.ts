/**
 * The best weights on a given mask in naive float64: for each row, the least-squares problem over its kept entries is solved by a Cholesky
 * factorisation of the kept rows and columns of the damped H. This file shares no code with `src`.
 */

import { choleskyLower } from "./cholesky.ts";
import type { ReferenceLayer } from "./sparsegpt.ts";

/** Solves A·x = b for a positive definite A, (n, n), given its lower Cholesky factor `l`. */
export function solveLower(l: Float64Array, b: ArrayLike<number>, n: number): Float64Array {
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= l[i * n + k] * x[k];
    x[i] /= l[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= l[k * n + i] * x[k];
    x[i] /= l[i * n + i];
  }
  return x;
}

/** Returns the weights Q, (rows, cols), that minimise tr((W − Q)·A·(W − Q)ᵀ) with Q = 0 where the mask is 0. */
export function referenceRefit(
  { rows, cols, weight }: ReferenceLayer,
  a: Float64Array,
  mask: ArrayLike<number>,
): Float64Array {
  const q = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const kept: number[] = [];
    for (let c = 0; c < cols; c++) if (mask[r * cols + c]) kept.push(c);
    const size = kept.length, system = new Float64Array(size * size), right = new Float64Array(size);
    kept.forEach((c, i) => {
      kept.forEach((d, k) => system[i * size + k] = a[c * cols + d]);
      for (let k = 0; k < cols; k++) right[i] += a[c * cols + k] * weight[r * cols + k];
    });
    solveLower(choleskyLower(system, size), right, size).forEach((value, i) => q[r * cols + kept[i]] = value);
  }
  return q;
}
