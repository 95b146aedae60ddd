/** Declares the option `--allocate`, which spreads the zeros over the layers of a model, and checks it against the other options. */

import { Option } from "commander";
import {
  type AllocationName,
  type AllocationRequest,
  ALLOCATIONS,
} from "../../prune/allocation/allocation.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import type { Choice } from "../../prune/choose_layers.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { UsageError } from "../errors.ts";

/** Returns the option. `pare prune` and `pare sweep` have it. */
export function allocateOption(): Option {
  return new Option(
    "--allocate <how>",
    "how the zeros are spread over the layers: uniform gives all layers the same sparsity, owl gives blocks with " +
      "many outliers a lower sparsity, error minimises the mean relative error of the layers; the total stays exact",
  ).choices(ALLOCATIONS).default("uniform");
}

/**
 * Checks that the pattern of the run does not already fix the sparsity of every layer.
 * @throws {UsageError} if the pattern is n:m and the allocation is not `uniform`
 */
export function checkAllocation(allocate: AllocationName, pattern = "unstructured"): void {
  if (allocate === "uniform" || pattern === "unstructured") return;
  throw new UsageError(
    `option --allocate ${allocate}: needs unstructured sparsity, but the pattern ${pattern} fixes the sparsity of every layer`,
  );
}

/**
 * Returns the allocation that the options ask for, or undefined if every layer gets the sparsity in its parameters.
 *
 * A profile is a file of the user with rules for single layers. If a rule sets a sparsity or an n:m pattern, the allocation does not
 * change the layers of this rule. It spreads the zeros of the remaining layers over the remaining layers.
 * @param query the parameters of the run
 * @throws {UsageError} if rules of the profile set the sparsity or the pattern of all layers
 */
export function allocationRequest(
  allocate: AllocationName,
  all: readonly SizedLayer[],
  { chosen }: Choice,
  query: LayerQuery,
): AllocationRequest | undefined {
  if (allocate === "uniform") return undefined;
  const layers = all.filter(({ name }) => {
    const parameters = chosen.get(name);
    return parameters && !("sparsity" in parameters) &&
      (parameters.pattern ?? "unstructured") === "unstructured";
  });
  if (layers.length > 0) {
    const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
    return { name: allocate, layers, sparsity };
  }
  throw new UsageError(
    `option --allocate ${allocate}: has no layer to allocate zeros to, because the profile sets the sparsity or the ` +
      `pattern of all ${chosen.size} layers`,
  );
}
