/** Computes the statistics of the inputs of every linear layer of a dense model. */

import type { Backend } from "../../src/device/backend.ts";
import type { Model } from "../../src/model/model.ts";
import { calibratedModel } from "../../src/prune/calibrated_model.ts";
import { withStatisticsInHostMemory } from "../../src/prune/host_statistics.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";

/**
 * Returns by the name of each weight Σ x·xᵀ over the inputs x of its layer, f32, the upper triangle packed row by row, and for the layers of
 * experts the number of inputs.
 */
export async function denseStatistics(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
): Promise<{ hessians: Map<string, Float32Array>; tokens: Map<string, number> }> {
  const hessians = new Map<string, Float32Array>(), tokens = new Map<string, number>();
  for await (
    const group of withStatisticsInHostMemory(calibratedModel(model, backend, { windows })).groups()
  ) {
    for (const { name, weight } of group.layers) {
      hessians.set(name, asFloat32(group.hessian!.data));
      if (group.tokens !== undefined) tokens.set(name, group.tokens);
      await group.replace(name, weight);
    }
  }
  return { hessians, tokens };
}
