/** What may take the place of a checkpoint's tensor: the same shape, brought to the same dtype. */

import { fromFloat32, toFloat32 } from "../tensor/convert.ts";
import { isFloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { tensorBytes } from "../tensor/shape.ts";
import type { TensorSource } from "./tensor_source.ts";

/**
 * `tensor` as it can stand in the place of `name`: itself, or its values rounded to the dtype there.
 * @throws {ModelError} `source` has no tensor `name`
 * @throws {RangeError} another shape, data of another length, or dtypes that are not both floating point
 */
export function asReplacement(source: TensorSource, name: string, tensor: HostTensor): HostTensor {
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
  return { dtype, shape, data: fromFloat32(toFloat32(tensor.data, tensor.dtype), dtype) };
}
