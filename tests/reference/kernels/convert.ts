import { type Contents, floatBits, type Params, type Reference } from "../kernel_reference.ts";
import { BF16, decodeFloat16, encodeFloat16, F16 } from "../float16.ts";

/** The 16-bit formats, by the value of the kernels' parameter `dtype`. */
const FORMATS = [undefined, F16, BF16];

/** The bits by which a 16-bit fraction is shifted to become the fraction of an f32, by the value of `dtype`. */
const FRACTION_SHIFTS = [0, 13, 16];

/** Widens 16-bit NaN and infinities: sign and fraction stay, and NaN becomes quiet. BF16 is only shifted. */
function widenNaN(source: ArrayLike<number>, target: Uint32Array, p: Params): void {
  const halves = new Uint16Array(Uint32Array.from(source).buffer), shift = FRACTION_SHIFTS[p.dtype];
  for (let i = 0; i < p.count; i++) {
    const half = halves[p.source_offset + i], fraction = shift === 16 ? half & 0x7f : half & 0x3ff;
    const quiet = shift === 13 && fraction > 0 ? 0x400000 : 0;
    target[p.target_offset + i] = (half & 0x8000) * 2 ** 16 + 0x7f800000 + (quiet | fraction << shift);
  }
}

/** Narrows NaN and infinities: the sign and the upper bits of the fraction stay, and NaN becomes quiet. */
function narrowNaN(source: Uint32Array, target: Contents[string], p: Params): void {
  const shift = FRACTION_SHIFTS[p.dtype], exponent = shift === 13 ? 0x7c00 : 0x7f80;
  const halves = new Uint16Array(2 * Math.ceil(p.count / 2));
  for (let i = 0; i < p.count; i++) {
    const word = source[p.source_offset + i], fraction = word & 0x7fffff;
    halves[i] = (word >>> 16 & 0x8000) | exponent | fraction >> shift |
      (fraction > 0 ? 0x400000 >> shift : 0);
  }
  target.set(new Uint32Array(halves.buffer));
}

/** Copies the bits of f32 elements. */
function copyWords(source: ArrayLike<number>, target: Contents[string], p: Params): void {
  for (let i = 0; i < p.count; i++) target[(p.target_offset ?? 0) + i] = source[p.source_offset + i];
}

export const to_float32: Reference = ({ source, target }, p) => {
  // Buffers of words have the bits of NaN and infinity.
  if (target instanceof Uint32Array) return (p.dtype === 0 ? copyWords : widenNaN)(source, target, p);
  const bytes = new DataView(Uint32Array.from(source).buffer), format = FORMATS[p.dtype];
  for (let i = 0; i < p.count; i++) {
    const at = p.source_offset + i;
    target[p.target_offset + i] = format
      ? decodeFloat16(bytes.getUint16(2 * at, true), format)
      : bytes.getFloat32(4 * at, true);
  }
};

export const from_float32: Reference = ({ source, target }, p) => {
  if (source instanceof Uint32Array) return (p.dtype === 0 ? copyWords : narrowNaN)(source, target, p);
  const format = FORMATS[p.dtype];
  const code = (i: number) => {
    const value = source[p.source_offset + i];
    return i >= p.count ? 0 : format ? encodeFloat16(value, format) : floatBits(value);
  };
  const words = format ? Math.ceil(p.count / 2) : p.count;
  for (let word = 0; word < words; word++) {
    target[word] = format ? code(2 * word) + code(2 * word + 1) * 2 ** 16 : code(word);
  }
};
