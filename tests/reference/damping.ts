/**
 * The choice of a damping by validation statistics in naive float64. Every candidate solves the sampled rows from the start. This file
 * shares no code with `src`.
 */

import { choleskyLower } from "./cholesky.ts";
import { dampedHessian } from "./hessian.ts";
import { type ReferenceFactor, referenceFactor, type ReferenceLayer } from "./sparsegpt.ts";
import { rowLosses } from "./validation.ts";

export interface ReferenceDamping {
  readonly damping: number;
  readonly shrinkage: number;
  /** The validation loss of the sampled rows. */
  readonly loss: number;
}

/** Returns (1 − s)·H + s·diag(H), (n, n). */
export function shrunkHessian(hessian: ArrayLike<number>, n: number, shrinkage: number): Float64Array {
  return Float64Array.from(hessian, (value, i) => i % (n + 1) === 0 ? value : (1 - shrinkage) * value);
}

/** Returns the layer that has every `step`-th row of `layer`. */
export function sampledLayer(layer: ReferenceLayer, step: number): ReferenceLayer {
  const { cols, weight, forced } = layer, rows = Math.ceil(layer.rows / step);
  const pick = (values: ArrayLike<number>) =>
    Float64Array.from(
      { length: rows * cols },
      (_, i) => values[step * cols * Math.floor(i / cols) + i % cols],
    );
  return { ...layer, rows, weight: pick(weight), forced: forced && pick(forced) };
}

/**
 * Tries the dampings 0.01, 0.1 and 1, and then the shrinkages 0.1 and 0.3 with the smallest damping that is positive definite. Each list
 * ends when a candidate is not better than the one before it.
 * @param solve returns the weights of a solve
 * @returns the candidates in the order in which they were tried. The best one is first in `sort` by loss
 */
export function triedDampings(
  layer: ReferenceLayer,
  validation: ArrayLike<number>,
  solve: (layer: ReferenceLayer, factor: ReferenceFactor) => ArrayLike<number>,
): ReferenceDamping[] {
  const { cols, hessian } = layer;
  const attempt = (damping: number, shrinkage: number) => {
    const factor = referenceFactor(shrunkHessian(hessian, cols, shrinkage), cols, damping);
    const losses = rowLosses(layer.weight, solve(layer, factor), validation, cols);
    return { damping, shrinkage, loss: losses.reduce((a, b) => a + b) };
  };
  const least = [0.01, 0.1, 1].find((damping) => isPositiveDefinite(hessian, cols, damping))!;
  const first = attempt(least, 0), tried = [first];
  const lists = [
    [0.1, 1].filter((damping) => damping > least).map((damping) => [damping, 0]),
    [0.1, 0.3].map((shrinkage) => [least, shrinkage]),
  ];
  for (const list of lists) {
    let previous = first;
    for (const [damping, shrinkage] of list) {
      const next = attempt(damping, shrinkage);
      tried.push(next);
      if (!(next.loss < previous.loss)) break;
      previous = next;
    }
  }
  return tried;
}

function isPositiveDefinite(hessian: ArrayLike<number>, n: number, damping: number): boolean {
  try {
    choleskyLower(dampedHessian(hessian, n, damping), n);
    return true;
  } catch {
    return false;
  }
}
