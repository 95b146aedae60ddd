/**
 * The element types (dtypes) of tensors under their safetensors names, the sizes of tensors as exact integers, and
 * conversions on the CPU between f32, f16 (IEEE 754 binary16) and bf16 (the upper half of an f32). Float16Array would
 * be as fast, but it drops the payload of a NaN. Typed arrays are assumed to be little-endian, as on every machine that
 * runs WebGPU or WebAssembly.
 */

/** The name of a dtype that Pare accepts in a safetensors file. */
export type Dtype =
  | "BOOL"
  | "F8_E4M3"
  | "F8_E8M0"
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
  F8_E4M3: 1,
  F8_E8M0: 1,
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
 * @throws {RangeError} if an extent is not an integer from 0 to 2^53 − 1, or if the product of the extents, multiplied
 *   from the first to the last, reaches 2^53
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
 * @throws {RangeError} in the cases of {@link elementCount}, or if the size is 2^53 bytes or more
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

/**
 * Converts raw little-endian elements of `dtype` to f32, exactly and into new memory. A NaN keeps its sign and its
 * payload. A NaN in f16 becomes quiet, and the bits of a NaN in bf16 or F32 are copied.
 * @throws {RangeError} if the length of `data` is not a whole number of elements
 */
export function bytesToFloats(data: Uint8Array, dtype: FloatDtype): Float32Array<ArrayBuffer> {
  const elementBytes = BYTES_PER_ELEMENT[dtype];
  if (data.byteLength % elementBytes !== 0) {
    throw new RangeError(
      `convert to f32: ${data.byteLength} bytes are not a multiple of ${elementBytes}, the size of an ${dtype} element`,
    );
  }
  if (dtype === "F32") return new Float32Array(data.slice().buffer);
  return dtype === "F16" ? widenFloat16(asUint16(data)) : widenBfloat16(asUint16(data));
}

/**
 * Converts f32 values to raw little-endian elements of `dtype`, rounding to nearest, ties to even. A value that rounds
 * past the largest finite value of `dtype` becomes an infinity. A NaN becomes a quiet NaN with the same sign and the
 * upper bits of its payload. If `dtype` is F32, all bits are copied.
 */
export function floatsToBytes(values: Float32Array, dtype: FloatDtype): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  const elements = dtype === "F16" ? narrowFloat16(values) : narrowBfloat16(values);
  return new Uint8Array(elements.buffer);
}

function widenFloat16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const table = float16Table();
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = table[halves[i]];
  return new Float32Array(words.buffer);
}

function widenBfloat16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

const TWO_POW_24 = 2 ** 24;
const TWO_POW_52 = 2 ** 52;

function narrowFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = asUint32(values);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const magnitude = words[i] & 0x7fffffff;
    let half: number;
    if (magnitude > 0x7f800000) { // NaN
      half = 0x7e00 | ((magnitude >>> 13) & 0x3ff);
    } else if (magnitude >= 0x47800000) { // at least 2^16, or infinity
      half = 0x7c00;
    } else if (magnitude >= 0x38800000) { // at least 2^-14: a normal number in f16
      // Subtracting 0x38000000 changes the exponent bias from 127 to 15. The shift drops 13 bits. Adding
      // 0xfff and the lowest of the remaining bits before the shift rounds to nearest even. A value that
      // rounds past 65504, the largest finite f16, becomes 0x7c00, which is infinity.
      half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    } else {
      // Subnormal in f16, so the result is a count of 2^-24. Adding 2^52 in float64 rounds the count, ties to even.
      half = Math.abs(values[i]) * TWO_POW_24 + TWO_POW_52 - TWO_POW_52;
    }
    halves[i] = ((words[i] >>> 16) & 0x8000) | half;
  }
  return halves;
}

function narrowBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = asUint32(values);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    halves[i] = (word & 0x7fffffff) > 0x7f800000
      ? (word >>> 16) | 0x40
      : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

let table: Uint32Array<ArrayBuffer> | undefined;

/** Returns a table (256 KiB) of the f32 bits of all 65536 f16 bit patterns. The first call computes it. */
function float16Table(): Uint32Array<ArrayBuffer> {
  return table ??= Uint32Array.from({ length: 1 << 16 }, (_, half) => widenOne(half));
}

function widenOne(half: number): number {
  const sign = (half & 0x8000) << 16;
  let exponent = (half >>> 10) & 0x1f;
  let mantissa = half & 0x3ff;
  if (exponent === 0x1f) {
    const quiet = mantissa === 0 ? 0 : 0x400000;
    return sign | 0x7f800000 | quiet | (mantissa << 13);
  }
  if (exponent === 0) {
    if (mantissa === 0) return sign;
    // Subnormal: shift left until the leading one is at the position of the implicit bit.
    for (exponent = 1; mantissa < 0x400; exponent--) mantissa <<= 1;
    mantissa &= 0x3ff;
  }
  return sign | ((exponent + 112) << 23) | (mantissa << 13);
}

/** Returns the bytes as 16-bit elements. The result is a view if the bytes are 2-byte aligned, and otherwise a copy. */
function asUint16(data: Uint8Array): Uint16Array {
  const aligned = data.byteOffset % 2 === 0 ? data : data.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

function asUint32(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
