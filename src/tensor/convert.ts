/**
 * Bulk conversion between f32 and the two 16-bit floating-point formats, f16 (IEEE binary16) and bf16.
 * Narrowing rounds to nearest, ties to even; subnormals, infinities and signed zeros are exact. The bits are
 * worked here and not by Float16Array, which is as fast but drops NaN payloads.
 *
 * The result is always fresh memory: `asFloat32` in `host_tensor.ts` is the view. Typed arrays are read as
 * little-endian, which every host of WebGPU and WebAssembly is.
 */

import { BYTES_PER_ELEMENT, type FloatDtype } from "./dtype.ts";

/**
 * Widens raw little-endian elements to f32; exact. A NaN keeps its sign and payload: from f16 it comes out
 * quiet, from bf16 and F32 its bits are copied.
 *
 * @throws {RangeError} if the length of `data` is not a whole number of elements.
 */
export function toFloat32(data: Uint8Array, dtype: FloatDtype): Float32Array<ArrayBuffer> {
  const elementBytes = BYTES_PER_ELEMENT[dtype];
  if (data.byteLength % elementBytes !== 0) {
    throw new RangeError(
      `convert to f32: ${data.byteLength} bytes are not whole ${dtype} elements of ${elementBytes}`,
    );
  }
  if (dtype === "F32") return new Float32Array(data.slice().buffer);
  return dtype === "F16" ? widenFloat16(asUint16(data)) : widenBfloat16(asUint16(data));
}

/**
 * Narrows f32 values to raw little-endian elements of `dtype`, rounding to nearest even; what rounds past the
 * largest finite value becomes an infinity. A NaN keeps its sign and its upper payload bits and comes out
 * quiet; to F32 all bits are copied.
 */
export function fromFloat32(values: Float32Array, dtype: FloatDtype): Uint8Array<ArrayBuffer> {
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
    } else if (magnitude >= 0x47800000) { // 2^16 and up, infinity too
      half = 0x7c00;
    } else if (magnitude >= 0x38800000) { // 2^-14 and up: normal. The carry out of 65504 reaches 0x7c00
      // Rebias the exponent from 127 to 15; half a unit less one, plus the last kept bit, is ties to even.
      half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    } else { // subnormal: a whole number of 2^-24, rounded to even by float64's own addition
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

/** The f32 bits of each of the 65536 f16 patterns (256 KiB), made at first use. */
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
    // Subnormal: shift until the leading one reaches the implicit place.
    for (exponent = 1; mantissa < 0x400; exponent--) mantissa <<= 1;
    mantissa &= 0x3ff;
  }
  return sign | ((exponent + 112) << 23) | (mantissa << 13);
}

/** A view of the bytes, copied only where they are not 2-byte aligned. */
function asUint16(data: Uint8Array): Uint16Array {
  const aligned = data.byteOffset % 2 === 0 ? data : data.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

function asUint32(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
