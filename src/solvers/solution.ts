/** Creates the solution from the buffers of a finished solve, and determines its number of zeros. */

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
