/**
 * Computes the number of elements and bytes of a dense tensor from its shape, as exact integers, and compares
 * shapes.
 */

import { BYTES_PER_ELEMENT, type Dtype } from "./dtype.ts";

/**
 * Returns the number of elements of a tensor with this shape. The scalar shape `[]` has 1 element.
 *
 * @throws {RangeError} if an extent is not an integer from 0 to 2^53 − 1, or if the product of the
 * extents, multiplied from the first to the last, reaches 2^53.
 */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new RangeError(`extent ${extent} is not a non-negative integer below 2^53`);
    }
    count *= extent;
    if (!Number.isSafeInteger(count)) throw new RangeError("the product of the extents is not below 2^53");
  }
  return count;
}

/**
 * Returns the size in bytes of a dense tensor with this dtype and shape.
 *
 * @throws {RangeError} in the cases of {@link elementCount}, or if the size is 2^53 bytes or more.
 */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number {
  const bytes = elementCount(shape) * BYTES_PER_ELEMENT[dtype];
  if (!Number.isSafeInteger(bytes)) throw new RangeError("the size in bytes is not below 2^53");
  return bytes;
}

/** Whether two shapes have the same extents in the same order. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}
