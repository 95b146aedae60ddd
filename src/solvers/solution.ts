/** Turns a finished workspace into a solution, and counts its zeros where only the device knows them. */

import type { Backend } from "../backend/backend.ts";
import { countBits } from "../sparsity/mask_bits.ts";
import { prunedPerRow } from "../sparsity/pattern.ts";
import type { Solution, SolveOptions } from "./solver.ts";
import type { Workspace } from "./workspace.ts";

/** Hands q and mask over to the solution; the rest of the workspace stays the caller's to free. */
export function toSolution(
  { q, mask }: Workspace,
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
 * How many entries were pruned. With a budget that is what was spent. With n:m groups it is the pattern's own
 * number, unless entries were forced: a group may then lose more than the pattern asks, and the mask is read back.
 */
export async function countZeros(
  backend: Backend,
  workspace: Workspace,
  { pattern }: SolveOptions,
  spent: number,
): Promise<number> {
  if (pattern.kind === "unstructured") return spent;
  const { rows, cols } = workspace.weight;
  if (!workspace.forced.given) return rows * prunedPerRow(pattern, cols);
  const { mask } = workspace;
  const bytes = await backend.read(mask, 0, mask.byteLength);
  return rows * cols - countBits(new Uint32Array(bytes.buffer));
}
