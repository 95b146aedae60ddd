/**
 * Collects the linear layers of a model with the statistics of their inputs in the dense model. All solvers
 * are compared on these statistics, because then every solver gets the same problem. In a pruned model the
 * inputs of a layer depend on how the blocks before it were pruned.
 */

import type { Backend } from "../../../../src/backend/backend.ts";
import type { Model } from "../../../../src/models/model.ts";
import { calibratedModel } from "../../../../src/prune/calibrated_model.ts";
import type { HostTensor } from "../../../../src/tensor/host_tensor.ts";

/** A linear layer of the dense model, which is the model before pruning. */
export interface DenseLayer {
  /** The name of the layer's weight in the checkpoint. */
  readonly name: string;
  readonly weight: HostTensor;
  /** Σ x·xᵀ over the layer's calibration inputs x, as a packed upper triangle. */
  readonly hessian: HostTensor;
}

/** Runs the calibration of `pare prune` without changing a weight, and returns all layers. */
export async function collectDenseLayers(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
): Promise<DenseLayer[]> {
  const layers: DenseLayer[] = [];
  for await (const group of calibratedModel(model, backend, { windows }).groups()) {
    for (const { name, weight } of group.layers) {
      layers.push({ name, weight, hessian: group.hessian! });
      await group.replace(name, weight);
    }
  }
  return layers;
}
