/** Chooses the sparsity of each layer of a model, so that the number of zeros of the whole model is exact. */

import type { QueryOf } from "../../protocol/run/solve_round.ts";
import { allocateByError } from "./allocate_error.ts";
import { allocateOwl } from "./allocate_owl.ts";
import type { Allocation, AllocationTask, WantedSparsities } from "./allocation.ts";
import { exactCounts, sparsityForZeros } from "./exact_counts.ts";

const METHODS: Readonly<Record<Allocation["name"], (task: AllocationTask) => Promise<WantedSparsities>>> = {
  owl: allocateOwl,
  error: allocateByError,
};

/**
 * Distributes exactly round(sparsity · number of weights of all layers) zeros over the layers.
 * @throws {RangeError} if the pattern of a layer is n:m, because the pattern fixes the sparsity of the layer. The message names the layer
 * @throws the errors of the calibration. The allocation `error` also throws the errors of `ModelPruner.pruneModel`
 */
export async function allocate(name: Allocation["name"], task: AllocationTask): Promise<Allocation> {
  const { layers, sparsity, queryOf } = task;
  for (const layer of layers) {
    const { pattern = "unstructured" } = queryOf(layer.name);
    if (pattern !== "unstructured") {
      throw new RangeError(
        `allocation ${name}: ${layer.name} is pruned ${pattern}, and this pattern fixes its sparsity`,
      );
    }
  }
  const { sparsities, notes } = await METHODS[name](task);
  const entries = layers.map(({ rows, cols }) => rows * cols);
  const total = entries.reduce((sum, count) => sum + count, 0);
  const counts = exactCounts(entries, sparsities, Math.round(sparsity * total));
  return {
    name,
    sparsities: Object.fromEntries(
      layers.map((layer, i) => [layer.name, sparsityForZeros(counts[i], entries[i])]),
    ),
    notes,
  };
}

/** Returns parameters in which each layer has its allocated sparsity. Layers without one keep their parameters. */
export function withAllocation(queryOf: QueryOf, { sparsities }: Allocation): QueryOf {
  return (name) =>
    Object.hasOwn(sparsities, name) ? { ...queryOf(name), sparsity: sparsities[name] } : queryOf(name);
}
