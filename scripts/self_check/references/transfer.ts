/** References of the kernels that move, convert and check data. */

import { BF16, decodeFloat16, encodeFloat16, F16 } from "../../../tests/reference/float16.ts";
import { bitOf, type Contents, eachElement, floatBits, type Reference, setBit } from "./reference.ts";

/** The 16-bit formats, by the value of the kernels' parameter `dtype`. */
const FORMATS = [undefined, F16, BF16];

/** The bits by which a 16-bit fraction is shifted to become the fraction of an f32, by the value of `dtype`. */
const FRACTION_SHIFTS = [0, 13, 16];

/** Widens 16-bit NaN and infinities: sign and fraction stay, and NaN becomes quiet. BF16 is only shifted. */
function widenNaN(source: ArrayLike<number>, target: Uint32Array, p: Readonly<Record<string, number>>): void {
  const halves = new Uint16Array(Uint32Array.from(source).buffer), shift = FRACTION_SHIFTS[p.dtype];
  for (let i = 0; i < p.count; i++) {
    const half = halves[p.source_offset + i], fraction = shift === 16 ? half & 0x7f : half & 0x3ff;
    const quiet = shift === 13 && fraction > 0 ? 0x400000 : 0;
    target[p.target_offset + i] = (half & 0x8000) * 2 ** 16 + 0x7f800000 + (quiet | fraction << shift);
  }
}

/** Narrows NaN and infinities: the sign and the upper bits of the fraction stay, and NaN becomes quiet. */
function narrowNaN(source: Uint32Array, target: Contents[string], p: Readonly<Record<string, number>>): void {
  const shift = FRACTION_SHIFTS[p.dtype], exponent = shift === 13 ? 0x7c00 : 0x7f80;
  const halves = new Uint16Array(2 * Math.ceil(p.count / 2));
  for (let i = 0; i < p.count; i++) {
    const word = source[p.source_offset + i], fraction = word & 0x7fffff;
    halves[i] = (word >>> 16 & 0x8000) | exponent | fraction >> shift |
      (fraction > 0 ? 0x400000 >> shift : 0);
  }
  target.set(new Uint32Array(halves.buffer));
}

export const TRANSFER_REFERENCES: Readonly<Record<string, Reference>> = {
  copy2d: ({ source, target }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      target[p.target_offset + r * p.target_ld + c] = source[p.source_offset + r * p.source_ld + c];
    }),
  copy_transposed: ({ source, target }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      target[p.target_offset + c * p.target_ld + r] = source[p.source_offset + r * p.source_ld + c];
    }),
  to_float32({ source, target }, p) {
    // Buffers of words have the bits of NaN and infinity.
    if (target instanceof Uint32Array) return widenNaN(source, target, p);
    const bytes = new DataView(Uint32Array.from(source).buffer), format = FORMATS[p.dtype];
    for (let i = 0; i < p.count; i++) {
      const at = p.source_offset + i;
      target[p.target_offset + i] = format
        ? decodeFloat16(bytes.getUint16(2 * at, true), format)
        : bytes.getFloat32(4 * at, true);
    }
  },
  from_float32({ source, target }, p) {
    if (source instanceof Uint32Array) return narrowNaN(source, target, p);
    const format = FORMATS[p.dtype];
    const code = (i: number) => {
      const value = source[p.source_offset + i];
      return i >= p.count ? 0 : format ? encodeFloat16(value, format) : floatBits(value);
    };
    const words = format ? Math.ceil(p.count / 2) : p.count;
    for (let word = 0; word < words; word++) {
      target[word] = format ? code(2 * word) + code(2 * word + 1) * 2 ** 16 : code(word);
    }
  },
  unpack_upper({ source, target }, p) {
    let at = 0;
    for (let i = p.first_row; i < p.first_row + p.rows; i++) {
      for (let j = i; j < p.n; j++, at++) {
        const c = j - p.first_col;
        if (c >= 0 && c < p.cols) target[p.target_offset + (i - p.first_row) * p.ld + c] = source[at];
      }
    }
  },
  check_finite({ x, first }, p) {
    const limit = new Float32Array(Uint32Array.of(p.limit).buffer)[0];
    const elements = Array.from(
      { length: p.count },
      (_, i) => x[p.offset + Math.floor(i / p.cols) * p.ld + i % p.cols],
    );
    const found = elements.findIndex((value) => !(Math.abs(value) < limit));
    if (found >= 0) first[p.slot] = Math.min(first[p.slot], found);
  },
  check_symmetry: ({ strip, upper, diagonal, first }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const i = p.row0 + r, j = p.col0 + c;
      if (i <= j) return;
      const difference = Math.abs(strip[r * p.ldstrip + j] - upper[c * p.ldupper + i - p.tile_col0]);
      if (difference > p.tolerance * Math.sqrt(diagonal[i] * diagonal[j])) {
        first[p.slot] = Math.min(first[p.slot], r * p.ldstrip + j);
      }
    }),
  gather_columns: ({ source, order, target }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const s = order[p.first + c] - p.source_first;
      if (s >= 0 && s < p.source_cols) target[r * p.target_ld + c] = source[r * p.source_ld + s];
    }),
  gather_symmetric: ({ source, order, target }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const [i, j] = [order[p.row0 + r], order[p.first + c]].toSorted((a, b) => a - b);
      const row = i - p.source_row0, col = j - p.source_first;
      if (row < 0 || row >= p.source_rows || col < 0 || col >= p.source_cols) return;
      target[r * p.target_ld + c] = source[row * p.source_ld + col];
    }),
  gather_bits: ({ source, order, target }, p) =>
    eachElement(p.rows, 32 * p.words, (r, c) => {
      setBit(target, p.words, r, c, c < p.cols && bitOf(source, p.words, r, order[c]) === 1);
    }),
  gather_rows: ({ x, index, y }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      y[r * p.cols + c] = x[index[p.offset + r] * p.cols + c];
    }),
};
