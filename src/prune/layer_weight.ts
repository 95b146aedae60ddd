/**
 * Converts the weight of a layer between the shape of a checkpoint and the shape of the solvers, which is
 * (outFeatures, inFeatures). The two shapes differ only for the layers of GPT-2, which are stored transposed.
 */

import { readTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import type { LinearSpec } from "../models/layer_specs.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { transpose } from "../tensor/transpose.ts";

/**
 * Reads the weight of a layer: (outFeatures, inFeatures), in the dtype of the checkpoint.
 * @param name the name of the weight
 * @throws {ModelError} if there is no such tensor
 */
export async function readLayerWeight(
  source: TensorSource,
  name: string,
  linear: LinearSpec,
): Promise<HostTensor> {
  const stored = await readTensor(source, name);
  return linear.isTransposed ? transpose(stored) : stored;
}

/** Returns a weight of shape (outFeatures, inFeatures) in the shape in which the checkpoint stores it. */
export function toStoredShape(weight: HostTensor, linear: LinearSpec): HostTensor {
  return linear.isTransposed ? transpose(weight) : weight;
}
