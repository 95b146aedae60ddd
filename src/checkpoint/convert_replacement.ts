/** Converts a new value for a tensor of a checkpoint to the dtype of the original, which has the same shape. */

import { bytesToFloats, floatsToBytes } from "../tensor/convert.ts";
import { isFloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { tensorBytes } from "../tensor/shape.ts";
import type { TensorSource } from "./tensor_source.ts";

/**
 * Checks that `tensor` fits in the place of the tensor `name` and converts it.
 *
 * @returns `tensor` itself if the dtypes are equal, otherwise its values rounded to the dtype of `name`
 * @throws {ModelError} if `source` has no tensor `name`
 * @throws {RangeError} if the shapes differ, if the data does not fit the shape, or if the dtypes differ and are not both
 * floating point
 */
export function convertReplacement(source: TensorSource, name: string, tensor: HostTensor): HostTensor {
  const { dtype, shape } = source.info(name);
  if (shape.length !== tensor.shape.length || shape.some((extent, i) => extent !== tensor.shape[i])) {
    throw new RangeError(`replace ${name}: needs shape [${shape}], got [${tensor.shape}]`);
  }
  const needed = tensorBytes(tensor.dtype, shape);
  if (tensor.data.byteLength !== needed) {
    throw new RangeError(`replace ${name}: needs ${needed} bytes, got ${tensor.data.byteLength}`);
  }
  if (tensor.dtype === dtype) return tensor;
  if (!isFloatDtype(dtype) || !isFloatDtype(tensor.dtype)) {
    throw new RangeError(`replace ${name}: needs dtype ${dtype}, got ${tensor.dtype}`);
  }
  return { dtype, shape, data: floatsToBytes(bytesToFloats(tensor.data, tensor.dtype), dtype) };
}
