/**
 * Random weights for models of any shape. They come in two forms: as a source of tensors for Pare, and as
 * numbers for a float64 reference computation.
 */

import { ModelError } from "../../src/base/files/file_error.ts";
import type { TensorSource } from "../../src/model/checkpoint/tensor_source.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** The shapes of the tensors, by name. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** The same weights in two forms. */
export interface RandomWeights {
  readonly source: TensorSource;
  readonly values: ReadonlyMap<string, Float64Array>;
}

/**
 * Generates F32 tensors. Matrices are normally distributed with a standard deviation of 1.5/√columns. This is large enough for
 * the softmax of attention to be far from uniform, and for both halves of a transformer block (attention and MLP) to affect the
 * result. The weights of norms are around 1, and all other vectors are around 0.
 */
export function randomWeights(shapes: Shapes): RandomWeights {
  const tensors = new Map<string, HostTensor>();
  const values = new Map<string, Float64Array>();
  Object.entries(shapes).forEach(([name, shape], i) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const isMatrix = shape.length === 2, isWeight = name.endsWith(".weight");
    const deviation = isMatrix ? 1.5 / Math.sqrt(shape[1]) : 0.2;
    const offset = !isMatrix && isWeight ? 1 : 0;
    const drawn = normals(count, 1000 + i).map((x) => offset + deviation * x);
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
