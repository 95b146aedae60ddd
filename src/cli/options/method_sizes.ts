/** Checks that no layer is too large for its method, for `pare prune` and `pare sweep`. */

import { METHOD_SOLVERS } from "../../layer/methods.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { LayerSizeError } from "../../solvers/check_operands.ts";
import { UsageError } from "../errors.ts";

/**
 * Checks, before any work, that no layer is too large for its method.
 * @param option the option that chooses the method, with its value. Without it, the option is `--method`
 * @throws {UsageError} naming the option, the layer and the limit
 */
export function checkMethodSizes(
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
  option?: string,
): void {
  for (const { name, rows, cols } of layers) {
    const { method } = queryOf(name);
    try {
      if (method) METHOD_SOLVERS[method].checkShape?.(rows, cols);
    } catch (error) {
      if (!(error instanceof LayerSizeError)) throw error;
      throw new UsageError(`option ${option ?? `--method ${method}`}: ${name}: ${error.message}`, {
        cause: error,
      });
    }
  }
}
