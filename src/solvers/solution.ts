/**
 * Creates the solution from the buffers of a finished solve. The host computes its figures in float64, from sums that the device
 * computed: the number of zeros, the loss and the relative error.
 */

import type { Backend } from "../backend/backend.ts";
import { countBits } from "../sparsity/mask_bits.ts";
import { prunedPerRow } from "../sparsity/pattern.ts";
import type { SolveWorkspace } from "./solve_workspace.ts";
import type { Solution, SolveOptions } from "./solver.ts";

/** Creates a solution, which takes ownership of the workspace's `q` and `mask`. The caller frees the rest of the workspace. */
export function toSolution(
  { q, mask }: SolveWorkspace,
  figures: Pick<Solution, "zeros" | "loss" | "relativeError">,
): Solution {
  return {
    q,
    mask,
    ...figures,
    destroy() {
      q.destroy();
      mask.destroy();
    },
  };
}

/**
 * Returns the number of pruned entries. For an unstructured pattern it is `prunedByBudget`. For an n:m pattern it follows
 * from the pattern, unless entries were forced: a group can then lose more entries than the pattern prunes, so the mask is
 * read from the device and counted.
 */
export async function countZeros(
  backend: Backend,
  workspace: SolveWorkspace,
  { pattern }: SolveOptions,
  prunedByBudget: number,
): Promise<number> {
  if (pattern.kind === "unstructured") return prunedByBudget;
  const { rows, cols } = workspace.weight;
  if (!workspace.forced.hasForced) return rows * prunedPerRow(pattern, cols);
  const { mask } = workspace;
  const bytes = await backend.read(mask, 0, mask.byteLength);
  return rows * cols - countBits(new Uint32Array(bytes.buffer));
}

/**
 * Computes tr(M·H·Mᵀ) for a matrix M, given the same trace for the damped H. Subtracts the share that the damping contributed.
 * @param dampedForm tr(M·(H + dampingAdded·I)·Mᵀ)
 * @param dampingAdded the value that was added to every diagonal entry of H
 * @param squaredNorm ‖M‖²
 * @returns the form, or 0 if the difference is negative. The form itself is never negative, but the two sums were
 *   rounded to f32, so their difference can be.
 */
export function undampedForm(dampedForm: number, dampingAdded: number, squaredNorm: number): number {
  return Math.max(0, dampedForm - dampingAdded * squaredNorm);
}

/** Computes loss / total. If `total` is 0, the result is 0 if the loss is 0 as well, and null otherwise. */
export function relativeError(loss: number, total: number): number | null {
  if (total > 0) return loss / total;
  return loss === 0 ? 0 : null;
}
