/**
 * Creates the solution of a finished solve, and computes the numbers in it: the number of zeros, the loss and
 * the relative error. They are computed on the CPU in float64, from sums and masks that the device computed.
 */

import type { Backend } from "../backend/backend.ts";
import { countBits } from "../sparsity/mask_bits.ts";
import { prunedPerRow } from "../sparsity/pattern.ts";
import type { SolveWorkspace } from "./solve_workspace.ts";
import type { QuantizationGrids, Solution, SparseGptOptions } from "./solver.ts";

/**
 * Creates a solution, which now owns the workspace's `q` and `mask`, and the grids if there are any. The
 * caller frees the rest of the workspace.
 */
export function toSolution(
  { q, mask }: SolveWorkspace,
  figures: Pick<Solution, "zeros" | "rowErrors" | "loss" | "relativeError">,
  quantized?: QuantizationGrids,
): Solution {
  return {
    q,
    mask,
    ...figures,
    quantized,
    destroy() {
      q.destroy();
      mask.destroy();
      quantized?.scales.destroy();
      quantized?.zeros.destroy();
    },
  };
}

/**
 * Returns the number of pruned entries. For an unstructured pattern the number is `prunedByBudget`. For an
 * n:m pattern without forced entries it follows from the pattern. Forced entries must be pruned in any case,
 * so a group can lose more entries than the pattern prunes. The mask is then read from the device, and its
 * zeros are counted. A fixed mask is counted as well.
 */
export async function countZeros(
  backend: Backend,
  workspace: Pick<SolveWorkspace, "weight" | "forced" | "mask">,
  { pattern, fixedMask }: SparseGptOptions,
  prunedByBudget: number,
): Promise<number> {
  const { rows, cols } = workspace.weight;
  if (!fixedMask && pattern.kind === "unstructured") return prunedByBudget;
  if (!fixedMask && pattern.kind === "n:m" && !workspace.forced.hasForced) {
    return rows * prunedPerRow(pattern, cols);
  }
  const { mask } = workspace;
  const bytes = await backend.read(mask, 0, mask.byteLength);
  return rows * cols - countBits(new Uint32Array(bytes.buffer));
}

/**
 * Computes tr(M·H·Mᵀ) for a matrix M from the same trace with the damped H, by subtracting the share of the
 * damping.
 * @param dampedForm tr(M·(H + dampingAdded·I)·Mᵀ)
 * @param dampingAdded the value that was added to every diagonal entry of H
 * @param squaredNorm ‖M‖²
 * @returns the trace, or 0 if the difference is negative, or NaN if the sums overflowed. The exact trace is never negative, but the
 *   difference can be, because both sums were computed in f32.
 */
export function undampedForm(dampedForm: number, dampingAdded: number, squaredNorm: number): number {
  // Without this line, a damped form minus infinity would become 0.
  if (!Number.isFinite(dampedForm) || !Number.isFinite(squaredNorm)) return NaN;
  return Math.max(0, dampedForm - dampingAdded * squaredNorm);
}

/**
 * Computes loss / total. If `total` is 0, the result is 0 for a loss of 0, and null for any other loss. If a number is not
 * finite, the result is NaN, because a finite loss divided by infinity would look like a perfect layer.
 */
export function relativeError(loss: number, total: number): number | null {
  if (!Number.isFinite(loss) || !Number.isFinite(total)) return NaN;
  if (total > 0) return loss / total;
  return loss === 0 ? 0 : null;
}

/**
 * Returns the relative error that belongs to `newLoss`, given another solution of the same layer. Both relative errors have
 * the denominator tr(W·H·Wᵀ), so they are in the ratio of the losses.
 */
export function rescaleRelativeError(
  { loss, relativeError }: Pick<Solution, "loss" | "relativeError">,
  newLoss: number,
): number | null {
  return relativeError === null || !loss ? relativeError : (relativeError / loss) * newLoss;
}
