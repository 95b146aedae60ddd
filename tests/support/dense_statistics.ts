/** Computes the statistics of the inputs of every linear layer of a dense model. */

import type { Backend } from "../../src/device/backend.ts";
import type { Model } from "../../src/model/model.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { replaceWeights } from "./solve_blocks.ts";

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
  await replaceWeights(model, backend, { windows }, async ({ name, weight }, group) => {
    hessians.set(name, asFloat32((await group.hessian!.packedUpper()).data));
    if (group.tokens !== undefined) tokens.set(name, group.tokens);
    return weight;
  });
  return { hessians, tokens };
}
