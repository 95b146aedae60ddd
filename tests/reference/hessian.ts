/**
 * Generates calibration statistics H = XᵀX/tokens that resemble real ones: inputs are correlated, the spectrum decays, H is rank-deficient,
 * and some inputs can be dead. Also holds the naive float64 products XᵀX and tr(M·H·Mᵀ).
 */

import { normals, uniform } from "../support/random.ts";

/** Options for {@link correlatedHessian}. */
export interface HessianOptions {
  readonly seed: number;
  /**
   * The number of rows of X. Below n, H is singular before damping.
   * @default {Math.ceil(n / 2) + 1}
   */
  readonly tokens?: number;
  /** The indices of dead inputs, which are 0 in every token. */
  readonly dead?: readonly number[];
}

/** Returns a random H = XᵀX/tokens, (n, n) row-major f32 and exactly symmetric. */
export function correlatedHessian(n: number, options: HessianOptions): Float32Array<ArrayBuffer> {
  const { seed, tokens = Math.ceil(n / 2) + 1, dead = [] } = options;
  const next = uniform(seed);
  // Neighbouring inputs share half of their signal, and an input's scale varies over two orders of magnitude.
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

/** Returns XᵀX, (n, n), of X (tokens, n). */
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

/** Returns tr(M·H·Mᵀ) of M (rows, n) and H (n, n). */
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
