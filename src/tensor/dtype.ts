/** The element types (dtypes) of tensors, under their safetensors names, and the sizes of tensors as exact integers. */

/** The name of a dtype that Pare accepts in a safetensors file. */
export type Dtype =
  | "BOOL"
  | "U8"
  | "I8"
  | "U16"
  | "I16"
  | "U32"
  | "I32"
  | "U64"
  | "I64"
  | "F16"
  | "BF16"
  | "F32"
  | "F64";

/** The floating-point dtypes that weights and activations may have. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** The size of one element, in bytes. */
export const BYTES_PER_ELEMENT: Readonly<Record<Dtype, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  U32: 4,
  I32: 4,
  U64: 8,
  I64: 8,
  F16: 2,
  BF16: 2,
  F32: 4,
  F64: 8,
};

/** Whether `name` is a dtype that Pare accepts. */
export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(BYTES_PER_ELEMENT, name);
}

/** Whether `dtype` is a dtype that weights may have. */
export function isFloatDtype(dtype: Dtype): dtype is FloatDtype {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/**
 * Returns the number of elements of a tensor with this shape. The scalar shape `[]` has 1 element.
 * @throws {RangeError} if an extent is not an integer from 0 to 2^53 − 1, or if the product of the extents, multiplied from the first to
 *   the last, reaches 2^53.
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
