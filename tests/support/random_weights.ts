/** Random weights for models of any shape, as a source of tensors and, the same values, as numbers for a reference. */

import { ModelError } from "../../src/files/model_error.ts";
import type { TensorSource } from "../../src/checkpoint/tensor_source.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { normals } from "./random.ts";

/** Names of tensors with their shapes. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** The weights of a model that was never trained. */
export interface RandomWeights {
  readonly source: TensorSource;
  readonly values: ReadonlyMap<string, Float64Array>;
}

/**
 * F32 tensors: matrices normal with a deviation of 1.5/√columns, so that softmaxes are far from even and no half of a block is
 * nothing beside the other; weights of norms about 1, biases about 0.
 */
export function randomWeights(shapes: Shapes, seed = 1): RandomWeights {
  const tensors = new Map<string, HostTensor>();
  const values = new Map<string, Float64Array>();
  Object.entries(shapes).forEach(([name, shape], i) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const isMatrix = shape.length === 2, isWeight = name.endsWith(".weight");
    const deviation = isMatrix ? 1.5 / Math.sqrt(shape[1]) : 0.2;
    const offset = !isMatrix && isWeight ? 1 : 0;
    const drawn = normals(count, 1000 * seed + i).map((x) => offset + deviation * x);
    tensors.set(name, { dtype: "F32", shape, data: new Uint8Array(drawn.buffer) });
    values.set(name, Float64Array.from(drawn));
  });
  const find = (name: string): HostTensor => {
    const tensor = tensors.get(name);
    if (!tensor) throw new ModelError(`no tensor ${name}`);
    return tensor;
  };
  const source: TensorSource = {
    has: (name) => tensors.has(name),
    info: find,
    read: (name, offset, length) => Promise.resolve(find(name).data.slice(offset, offset + length)),
  };
  return { source, values };
}
