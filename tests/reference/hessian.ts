/**
 * Random calibration statistics H = XᵀX that resemble those of real models, and naive float64 functions of H. The inputs are
 * correlated, their scales differ widely, and H does not have full rank. Some inputs may be dead, which means that they are 0 for
 * every token. H is the Hessian of the layer-wise problem in SparseGPT (arXiv 2301.00774, section 3).
 */

import { normals, uniform } from "../../scripts/fixtures/random.ts";

/** Options of {@link correlatedHessian}. */
export interface HessianOptions {
  readonly seed: number;
  /** The number of rows of X. It should be less than n, so that H is singular before damping. @default about half of n */
  readonly tokens?: number;
  /** The indices of the dead inputs. */
  readonly dead?: readonly number[];
}

/** Generates H = XᵀX/tokens, (n, n) row-major and exactly symmetric. */
export function correlatedHessian(n: number, options: HessianOptions): Float32Array<ArrayBuffer> {
  const { seed, tokens = Math.ceil(n / 2) + 1, dead = [] } = options;
  const next = uniform(seed);
  // Adjacent inputs share half of their signal, and the scales of the inputs span two orders of magnitude.
  const scales = Float64Array.from({ length: n }, () => 10 ** (2 * next() - 1));
  for (const j of dead) scales[j] = 0;
  const x = new Float64Array(tokens * n);
  const noise = normals(tokens * (n + 1), seed + 1);
  for (let t = 0; t < tokens; t++) {
    for (let j = 0; j < n; j++) {
      x[t * n + j] = scales[j] * (noise[t * (n + 1) + j] + noise[t * (n + 1) + j + 1]);
    }
  }
  return Float32Array.from(gram(x, tokens, n), (value) => value / tokens);
}

/** The product XᵀX, (n, n), for X (tokens, n). */
export function gram(x: Float64Array, tokens: number, n: number): Float64Array {
  const h = new Float64Array(n * n);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < n; i++) {
      const value = x[t * n + i];
      if (value === 0) continue;
      for (let j = i; j < n; j++) h[i * n + j] += value * x[t * n + j];
    }
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) h[i * n + j] = h[j * n + i];
  return h;
}

/**
 * Returns the damped Hessian, (n, n). Zeros on the diagonal (dead inputs) become 1, and then
 * damping·mean(diag H) is added to the diagonal.
 */
export function dampedHessian(hessian: ArrayLike<number>, n: number, damping: number): Float64Array {
  const h = Float64Array.from(hessian);
  let mean = 0;
  for (let j = 0; j < n; j++) {
    if (h[j * n + j] === 0) h[j * n + j] = 1;
    mean += h[j * n + j] / n;
  }
  for (let j = 0; j < n; j++) h[j * n + j] += damping * mean;
  return h;
}

/** The trace of M·H·Mᵀ for M (rows, n) and H (n, n). */
export function quadraticForm(m: ArrayLike<number>, h: ArrayLike<number>, rows: number, n: number): number {
  let total = 0;
  const product = new Float64Array(n);
  for (let r = 0; r < rows; r++) {
    product.fill(0);
    for (let i = 0; i < n; i++) {
      const value = m[r * n + i];
      if (value === 0) continue;
      for (let j = 0; j < n; j++) product[j] += value * h[i * n + j];
    }
    for (let j = 0; j < n; j++) total += product[j] * m[r * n + j];
  }
  return total;
}
