/**
 * The results with which Pare compares that of a method by validation statistics, and their losses, in naive
 * float64. This file shares no code with `src`.
 */

import { quadraticForm } from "./hessian.ts";
import { codeOf, gridOf } from "./quantization.ts";

/** A grid of weights, as in the parameters of a request. A group size of 0 means that a whole row shares a grid. */
export interface ReferenceRounding {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly groupSize: number;
}

/** Returns the share of each row in tr(Δ·H·Δᵀ), with Δ = W − Q: (rows). */
export function rowLosses(
  weight: ArrayLike<number>,
  q: ArrayLike<number>,
  hessian: ArrayLike<number>,
  cols: number,
): Float64Array {
  return Float64Array.from({ length: weight.length / cols }, (_, row) => {
    const delta = Float64Array.from({ length: cols }, (_, c) => weight[row * cols + c] - q[row * cols + c]);
    return quadraticForm(delta, hessian, 1, cols);
  });
}

/** Returns the original weights where `mask` is 1, rounded to the nearest values of their grids, and 0 elsewhere. */
export function nearestOnMask(
  weight: ArrayLike<number>,
  mask: ArrayLike<number>,
  cols: number,
  rounding?: ReferenceRounding,
): Float64Array {
  const q = Float64Array.from(weight, (value, i) => mask[i] ? value : 0);
  if (!rounding) return q;
  const { bits, symmetric, groupSize } = rounding, width = groupSize || cols;
  for (let row0 = 0; row0 < q.length; row0 += cols) {
    for (let first = 0; first < cols; first += width) {
      const from = row0 + first, end = row0 + Math.min(cols, first + width);
      const grid = gridOf([...q.subarray(from, end)], bits, symmetric);
      for (let i = from; i < end; i++) {
        if (mask[i]) q[i] = (codeOf(q[i], grid, bits) - grid.zero) * grid.scale;
      }
    }
  }
  return q;
}
