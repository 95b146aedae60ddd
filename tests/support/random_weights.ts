/** Random weights for models of any shape, both as a tensor source for Pare and as numbers for a float64 reference. */

import { ModelError } from "../../src/files/model_error.ts";
import type { TensorSource } from "../../src/checkpoint/tensor_source.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { normals } from "./random.ts";

/** The shapes of a model's tensors, by name. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** The same random weights in both forms. */
export interface RandomWeights {
  readonly source: TensorSource;
  readonly values: ReadonlyMap<string, Float64Array>;
}

/**
 * Makes F32 tensors. Matrices are normal with a deviation of 1.5/√columns, so that softmaxes are far from uniform and both halves of a
 * block contribute to the states. The weights of norms lie around 1, and biases around 0.
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
