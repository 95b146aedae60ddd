/** Conversion between arrays of numbers and the tensors that requests and answers carry. */

import { bytesToFloats, floatsToBytes } from "../../tensor/convert.ts";
import { type FloatDtype, isFloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { elementCount } from "../../tensor/shape.ts";

/**
 * Makes a tensor of numbers in row-major order. The numbers are copied.
 *
 * @example
 * ```ts
 * const weight = tensorFromFloats(new Float32Array(64 * 96), [64, 96]);
 * ```
 *
 * @param values the elements, the last axis first: element (i, j) of a matrix of `cols` columns has the index i·cols + j
 * @param shape the extents, outermost first. A weight has the shape [out, in], inputs have [tokens, in]
 * @param dtype the dtype of the tensor. F16 and BF16 round to nearest, ties to even. @default "F32"
 * @throws {RangeError} if `shape` does not have as many elements as `values`
 */
export function tensorFromFloats(
  values: Float32Array,
  shape: readonly number[],
  dtype: FloatDtype = "F32",
): HostTensor {
  const count = elementCount(shape);
  if (count !== values.length) {
    throw new RangeError(
      `shape [${shape.join(", ")}]: has ${count} elements, but ${values.length} were given`,
    );
  }
  return { dtype, shape: [...shape], data: floatsToBytes(values, dtype) };
}

/**
 * Returns a copy of the elements of an F32, F16 or BF16 tensor as numbers, in row-major order. The conversion is exact.
 * @throws {TypeError} if the tensor has another dtype
 */
export function floatsFromTensor({ dtype, data }: HostTensor): Float32Array<ArrayBuffer> {
  if (!isFloatDtype(dtype)) throw new TypeError(`dtype ${dtype}: must be F32, F16 or BF16`);
  return bytesToFloats(data, dtype);
}
