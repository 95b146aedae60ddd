/**
 * Summarises the errors of many layers as ratios to SparseGPT's errors, for the tables and gates of the
 * solvers bench.
 */

import { BASELINE } from "./cells.ts";
import { findCell, type ModelResult } from "./bench_models.ts";

/** The errors of one method at one target, each divided by SparseGPT's error of the same layer. */
export interface ErrorRatios {
  readonly geometricMean: number;
  /** The largest ratio, and the layer that has it. */
  readonly worst: { readonly ratio: number; readonly layer: string };
}

/**
 * Compares the errors of all layers of `models` with SparseGPT's.
 * @returns the ratios, or undefined if an error was not measured because a cell is missing or a layer was
 * refused
 */
export function errorRatios(
  models: readonly ModelResult[],
  method: string,
  target: string,
): ErrorRatios | undefined {
  const ratios: { ratio: number; layer: string }[] = [];
  for (const model of models) {
    const errors = findCell(model, method, target)?.errors;
    const baseline = findCell(model, BASELINE, target)?.errors;
    if (!errors || !baseline) return undefined;
    for (const [i, layer] of model.layers.entries()) {
      const error = errors[i], reference = baseline[i];
      if (error === null || reference === null) return undefined;
      ratios.push({ ratio: error / reference, layer: `${model.name} ${layer}` });
    }
  }
  if (ratios.length === 0) return undefined;
  const logarithms = ratios.reduce((total, { ratio }) => total + Math.log(ratio), 0);
  return {
    geometricMean: Math.exp(logarithms / ratios.length),
    worst: ratios.reduce((worst, next) => next.ratio > worst.ratio ? next : worst),
  };
}
