/**
 * Rounds the kept weights of a layer that any solver has pruned. The mask of that solver does not change. The
 * rounding is the pass of SparseGPT and GPTQ over the columns (`joint_pass.ts`), with a fixed mask. It starts
 * from the pruned weights instead of the original ones, so the gain of a refit is not lost. Let
 * Q₁ be the pruned weights and Q₂ the rounded weights on the same mask. If Q₁ is optimal on the mask, then
 *
 *     tr((W − Q₂)·H·(W − Q₂)ᵀ) = tr((W − Q₁)·H·(W − Q₁)ᵀ) + tr((Q₁ − Q₂)·H·(Q₁ − Q₂)ᵀ).
 *
 * The pass reduces the last term.
 */

import type { Backend } from "../../backend/backend.ts";
import { ResourceSet } from "../../backend/owned.ts";
import type { TiledMatrix } from "../../backend/tiled_matrix.ts";
import { permuteColumns } from "../../linalg/column_order.ts";
import type { Factor } from "../../linalg/factor.ts";
import { PanelProduct } from "../../linalg/panel_product.ts";
import { addFactoredForm, addSquaredNorm, RowSums } from "../../linalg/quadratic_form.ts";
import { addScaled, allocateLike, copyMatrix } from "../../linalg/tile_arithmetic.ts";
import type { QuantizationOptions } from "../../quantization/quantization.ts";
import { searchRanges } from "./search_ranges.ts";
import { relativeError, undampedForm } from "../solution.ts";
import type { Layer, Solution, SparseGptOptions } from "../solver.ts";
import { solveSparseGpt } from "../sparsegpt.ts";

/** The options of {@link roundSolution}. */
export interface RoundOptions {
  readonly quantization: QuantizationOptions;
  /** Whether to compute the relative error, whose denominator costs one more matrix product. */
  readonly relativeError: boolean;
  /**
   * Whether to search the range of each row's grid, which costs as much as four more passes. It has no effect
   * on grids of groups of columns.
   */
  readonly searchRanges: boolean;
}

/**
 * Rounds the kept weights of `pruned`. The function frees `pruned`, even if it throws.
 * @param layer `layer.weight` is Δ = W − Q of `pruned`, and becomes Δ of the result
 * @param factor the factor of the layer's statistics, in the order of `quantization.order`
 * @returns a solution with the mask of `pruned`. Its loss includes the pruning and the rounding.
 * @throws the errors of `solveSparseGpt`
 */
export async function roundSolution(
  backend: Backend,
  { weight: delta }: Layer,
  pruned: Solution,
  factor: Factor,
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
      ? await searchRanges(backend, weight, factor, pass)
      : undefined;
    const rounded = results.add(await solveSparseGpt(backend, { weight }, factor, { ...pass, gridRanges }));
    // `weight` is now Q₁ − Q₂, so Δ + weight is W − Q₂.
    addScaled(backend, weight, 1, delta, rounded.mask);
    const loss = await factoredForm(backend, delta, weight, factor);
    let total: number | undefined;
    if (options.relativeError) {
      const original = scratch.add(allocateLike(backend, delta, "original weights"));
      copyMatrix(backend, delta, original);
      addScaled(backend, rounded.q, 1, original, rounded.mask);
      total = await factoredForm(backend, original, weight, factor);
    }
    return { ...rounded, loss, relativeError: total === undefined ? null : relativeError(loss, total) };
  } catch (error) {
    results.destroy();
    throw error;
  } finally {
    scratch.destroy();
  }
}

/** Returns tr(M·H·Mᵀ) with the undamped H. `scratch` has the shape and tiling of M. Waits for the device. */
async function factoredForm(
  backend: Backend,
  m: TiledMatrix,
  scratch: TiledMatrix,
  { r, blocksize, order, dampingAdded }: Factor,
): Promise<number> {
  const owned = new ResourceSet();
  try {
    if (order) permuteColumns(backend, m, order.forward, scratch);
    const ordered = order ? scratch : m;
    const sums = owned.add(new RowSums(backend, m.rows, 2));
    addFactoredForm(owned.add(new PanelProduct(backend, ordered, r, blocksize)), sums, 0);
    addSquaredNorm(ordered, sums, 1);
    const [dampedForm, squaredNorm] = await sums.totals();
    return undampedForm(dampedForm, dampingAdded, squaredNorm);
  } finally {
    owned.destroy();
  }
}
