/**
 * The element types (dtypes) of tensors that Pare reads and writes, under their safetensors names, and their
 * sizes. Conversion between the floating-point dtypes is in `convert.ts`.
 */

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
