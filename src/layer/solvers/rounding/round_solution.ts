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
import type { QuantizationOptions } from "../../../tensor/quantization.ts";
import type { Factor } from "../../linalg/factor.ts";
import { addScaled, allocateLike, copyMatrix } from "../../linalg/tile_arithmetic.ts";
import { ScaledLoss, type ScaledStatistics } from "../scaled_statistics.ts";
import { KEEP_ALL, type Layer, type Solution } from "../solver.ts";
import { solveSparseGpt } from "../sparsegpt.ts";
import { improveRounding } from "./improve_rounding.ts";

/**
 * Rounds the kept weights of `pruned`. The function frees `pruned`, even if it throws.
 * @param layer `layer.weight` is Δ = W − Q of `pruned`, and becomes Δ of the result
 * @param factor the factor of the layer's statistics, in the order of `quantization.order`
 * @param statistics the scaled statistics of the layer, in the order of its columns
 * @param sweeps the largest number of sweeps that improve the rounding afterwards (`improve_rounding.ts`)
 * @returns a solution with the mask of `pruned`. Its loss includes the pruning and the rounding.
 * @throws the errors of `solveSparseGpt`
 */
export async function roundSolution(
  backend: Backend,
  { weight: delta }: Layer,
  pruned: Solution,
  factor: Factor,
  statistics: ScaledStatistics,
  quantization: QuantizationOptions,
  sweeps = 0,
): Promise<Solution> {
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  scratch.add(pruned);
  const weight = scratch.add(allocateLike(backend, delta, "pruned weights"));
  copyMatrix(backend, pruned.q, weight);
  const pass = { ...KEEP_ALL, quantization, fixedMask: pruned.mask };
  const rounded = unsolved.add(await solveSparseGpt(backend, { weight }, factor, pass));
  // `solveSparseGpt` has replaced `weight` by the change Q₁ − Q₂. Δ is W − Q₁, so Δ + weight is W − Q₂.
  addScaled(backend, weight, 1, delta, rounded.mask);
  // Both are freed before the loss is measured, which takes the memory of two matrices.
  weight.destroy();
  pruned.destroy();
  const result = { ...rounded, weightForm: pruned.weightForm };
  if (sweeps === 0) {
    const measure = scratch.add(new ScaledLoss(backend, statistics, delta));
    const { loss } = await measure.read(delta, measure.queue(delta));
    unsolved.move();
    return { ...result, loss };
  }
  unsolved.move();
  return await improveRounding(backend, delta, result, statistics, { factor, quantization, sweeps });
}
