/** Sizes of tensors from their shapes, in exact integers. It knows nothing of strides or views. */

import { BYTES_PER_ELEMENT, type Dtype } from "./dtype.ts";

/**
 * The number of elements of a tensor of `shape`; 1 for the scalar shape `[]`.
 *
 * @throws {RangeError} if an extent is not a non-negative safe integer, or the product, taken from the left, is not.
 */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new RangeError(`extent ${extent} is not a non-negative integer below 2^53`);
    }
    count *= extent;
    if (!Number.isSafeInteger(count)) throw new RangeError("the product of its extents is not below 2^53");
  }
  return count;
}

/**
 * The bytes a dense tensor of `dtype` and `shape` occupies.
 *
 * @throws {RangeError} as `elementCount`, or if the bytes are not below 2^53.
 */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number {
  const bytes = elementCount(shape) * BYTES_PER_ELEMENT[dtype];
  if (!Number.isSafeInteger(bytes)) throw new RangeError("its size in bytes is not below 2^53");
  return bytes;
}
