/**
 * Rounds the kept weights of a layer that any solver has pruned. The mask of that solver does not change. The rounding is the pass of
 * SparseGPT and GPTQ over the columns (`joint_pass.ts`), with a fixed mask. It starts from the pruned weights instead of the original ones,
 * so the gain of a refit is not lost. Let Q₁ be the pruned weights and Q₂ the rounded weights on the same mask. If Q₁ is optimal on the
 * mask, then
 *
 *     tr((W − Q₂)·H·(W − Q₂)ᵀ) = tr((W − Q₁)·H·(W − Q₁)ᵀ) + tr((Q₁ − Q₂)·H·(Q₁ − Q₂)ᵀ).
 *
 * The pass reduces the last term.
 */

import type { Backend } from "../../../device/backend.ts";
import { ResourceSet } from "../../../device/owned.ts";
import type { TiledMatrix } from "../../../device/tiled_matrix.ts";
import type { QuantizationOptions } from "../../../tensor/quantization.ts";
import type { Factor } from "../../linalg/factor.ts";
import { addScaled, allocateLike, copyMatrix } from "../../linalg/tile_arithmetic.ts";
import { ScaledLoss, type ScaledStatistics } from "../scaled_statistics.ts";
import type { Layer, Solution, SparseGptOptions } from "../solver.ts";
import { solveSparseGpt } from "../sparsegpt.ts";
import type { ValidationLoss } from "../validation_loss.ts";

export interface RoundOptions {
  readonly quantization: QuantizationOptions;
  /**
   * Whether to search the range of each row's grid, which costs as much as four more passes. It has no effect on grids of groups of
   * columns.
   */
  readonly searchRanges: boolean;
  /** Measures the ranges that are tried, if the layer has validation statistics. */
  readonly validation?: ValidationLoss;
}

/**
 * Rounds the kept weights of `pruned`. The function frees `pruned`, even if it throws.
 * @param layer `layer.weight` is Δ = W − Q of `pruned`, and becomes Δ of the result
 * @param factor the factor of the layer's statistics, in the order of `quantization.order`
 * @param statistics the scaled statistics of the layer, in the order of its columns
 * @returns a solution with the mask of `pruned`. Its loss includes the pruning and the rounding.
 * @throws the errors of `solveSparseGpt`
 */
export async function roundSolution(
  backend: Backend,
  { weight: delta }: Layer,
  pruned: Solution,
  factor: Factor,
  statistics: ScaledStatistics,
  options: RoundOptions,
): Promise<Solution> {
  const scratch = new ResourceSet(), results = new ResourceSet();
  scratch.add(pruned);
  try {
    const weight = scratch.add(allocateLike(backend, delta, "pruned weights"));
    copyMatrix(backend, pruned.q, weight);
    const pass: SparseGptOptions = {
      sparsity: 0,
      pattern: { kind: "unstructured" },
      relativeError: false,
      quantization: options.quantization,
      fixedMask: pruned.mask,
    };
    const gridRanges = options.searchRanges && options.quantization.groupSize === 0
      ? await searchRanges(backend, weight, factor, pass, options.validation)
      : undefined;
    const rounded = results.add(await solveSparseGpt(backend, { weight }, factor, { ...pass, gridRanges }));
    // `solveSparseGpt` has replaced `weight` by the change Q₁ − Q₂. Δ is W − Q₁, so Δ + weight is W − Q₂.
    addScaled(backend, weight, 1, delta, rounded.mask);
    // Both are freed before the loss is measured, which takes the memory of two matrices.
    weight.destroy();
    pruned.destroy();
    const measure = scratch.add(new ScaledLoss(backend, statistics, delta));
    const { loss } = await measure.read(delta, measure.queue(delta));
    return { ...rounded, loss, weightForm: pruned.weightForm };
  } catch (error) {
    results.destroy();
    throw error;
  } finally {
    scratch.destroy();
  }
}

/** The ranges that are tried, as fractions of the range of a row's weights. */
const FRACTIONS = [1, 0.95, 0.9, 0.85];

/**
 * Returns the range with the smallest error for each row, as a fraction of the range of the row's weights: (rows). Of equal errors, the
 * larger range is chosen. The rows are independent because the mask is fixed.
 * @param weight the weights to round. They are not changed
 * @param validation measures the error by the original weights and the validation statistics. Without it, the error is that of the pass
 * @param options `quantization` with whole rows per grid, and `fixedMask`
 * @throws the errors of `solveSparseGpt`
 */
export async function searchRanges(
  backend: Backend,
  weight: TiledMatrix,
  factor: Factor,
  options: SparseGptOptions,
  validation?: ValidationLoss,
): Promise<Float32Array<ArrayBuffer>> {
  const best = new Float32Array(weight.rows).fill(FRACTIONS[0]),
    smallest = new Float32Array(weight.rows).fill(Infinity);
  const owned = new ResourceSet();
  try {
    const trial = owned.add(allocateLike(backend, weight, "weights of a trial"));
    for (const fraction of FRACTIONS) {
      copyMatrix(backend, weight, trial);
      const gridRanges = new Float32Array(weight.rows).fill(fraction);
      const solution = await solveSparseGpt(backend, { weight: trial }, factor, { ...options, gridRanges });
      try {
        const errors = await validation?.rows(solution) ?? solution.rowErrors!;
        errors.forEach((error, row) => {
          if (error < smallest[row]) [smallest[row], best[row]] = [error, fraction];
        });
      } finally {
        solution.destroy();
      }
    }
    return best;
  } finally {
    owned.destroy();
  }
}
