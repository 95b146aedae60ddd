/**
 * The element types Pare reads and writes, by their safetensors names, and their sizes. Bulk conversion
 * between the floating-point ones is in `convert.ts`; nothing here touches data.
 */

/** A safetensors dtype name that Pare accepts in a file. */
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

/** The floating-point dtypes a weight or an activation may have. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** Bytes an element occupies. */
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

/** Whether `name` is a dtype Pare accepts. */
export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(BYTES_PER_ELEMENT, name);
}

/** Whether `dtype` is one a weight may have. */
export function isFloatDtype(dtype: Dtype): dtype is FloatDtype {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}
