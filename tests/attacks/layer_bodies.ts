/** Builds the request bodies of the attack corpus. */

import { encode } from "../../src/tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT, type Dtype, floatsToBytes, isFloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { type BytePart, bytesOf } from "./bytes.ts";

/** A tensor of a body. */
export interface TensorCase {
  readonly dtype: Dtype;
  readonly shape: number[];
  /** One value for all elements, an identity matrix, or random values. */
  readonly values: number | "identity" | "random";
  /** Values of single elements, by their index. JSON has no NaN, so numbers may be written as text. */
  readonly patch?: Readonly<Record<string, number | string>>;
}

/** A body: a safetensors file with these tensors, or arbitrary bytes. */
export type BodyCase =
  | { readonly tensors: Readonly<Record<string, TensorCase>> }
  | { readonly file: readonly BytePart[] };

/** A valid layer of 4 x 8 weights. */
export const GOOD_BODY: BodyCase = {
  tensors: {
    weight: { dtype: "F32", shape: [4, 8], values: "random" },
    hessian: { dtype: "F32", shape: [8, 8], values: "identity" },
  },
};

/** Returns the bytes of a body. */
export function makeBody(body: BodyCase): Uint8Array<ArrayBuffer> {
  if ("file" in body) return bytesOf(body.file);
  return encode(new Map(Object.entries(body.tensors).map(([name, tensor]) => [name, makeTensor(tensor)])));
}

function makeTensor({ dtype, shape, values, patch = {} }: TensorCase): HostTensor {
  const length = shape.reduce((product, extent) => product * extent, 1);
  if (!isFloatDtype(dtype)) {
    return { dtype, shape, data: new Uint8Array(length * BYTES_PER_ELEMENT[dtype]).fill(Number(values)) };
  }
  const floats = values === "random" ? normals(length, 1) : new Float32Array(length);
  if (values === "identity") { for (let i = 0; i < shape[0]; i++) floats[i * shape[0] + i] = 1; }
  else if (values !== "random") floats.fill(values);
  for (const [index, value] of Object.entries(patch)) floats[Number(index)] = Number(value);
  return { dtype, shape, data: floatsToBytes(floats, dtype) };
}
