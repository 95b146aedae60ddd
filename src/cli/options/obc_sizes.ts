/** Checks that no layer is too large for the method `obc`, which `pare prune` and `pare sweep` offer. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { checkObcSize, ObcSizeError } from "../../solvers/obc/obc_limit.ts";
import { UsageError } from "../errors.ts";

/**
 * Checks, before any work, that no layer is too large for the method `obc`.
 * @param option the option that chooses the method
 * @throws {UsageError} naming the option, the layer and the limit
 */
export function checkObcSizes(
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
  option = "--method obc",
): void {
  for (const { name, rows, cols } of layers) {
    if (queryOf(name).method !== "obc") continue;
    try {
      checkObcSize(rows, cols);
    } catch (error) {
      if (!(error instanceof ObcSizeError)) throw error;
      throw new UsageError(`option ${option}: ${name}: ${error.message}`, { cause: error });
    }
  }
}
