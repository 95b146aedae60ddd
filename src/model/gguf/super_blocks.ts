/**
 * Finds and packs the super-blocks of the K types of tensors, which are defined by `ggml-common.h` in
 * github.com/ggml-org/llama.cpp. The 256 weights of a super-block share a factor d in F16. Each of its groups has an
 * integer n, and an integer m in the types with minimums. A weight with the code q is n·(q − middle)·d, or
 * n·q·d − m·dmin with minimums. Pare writes dmin = middle·d, where the middle is 2^(bits − 1), so every weight is an
 * integer times d. Runs with `scale_bits` round to such grids (`tensor/quantization.ts`).
 */

import { isFloat16 } from "../../tensor/find_scale.ts";
import { scaleLimit, SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";

/** The grids of a K type. */
export interface SuperBlockGrid {
  readonly bits: number;
  readonly groupSize: number;
  /** Whether the groups have no minimums. The integers n are then signed. */
  readonly symmetric: boolean;
  readonly scaleBits: number;
}

export interface SuperBlock {
  /** d */
  readonly factor: number;
  readonly codes: Uint8Array;
  /** n of each group. */
  readonly scales: Int8Array;
  /** m of each group. All are 0 in a symmetric type. */
  readonly minimums: Uint8Array;
}

/**
 * Finds the super-block whose weights are exactly the given ones. All weights are multiples of d, so d divides their
 * greatest common divisor.
 * @param weights 256 numbers
 * @returns undefined if there is none
 */
export function findSuperBlock(grid: SuperBlockGrid, weights: Float32Array): SuperBlock | undefined {
  const middle = 2 ** (grid.bits - 1),
    largestUnit = scaleLimit(grid) * (grid.symmetric ? middle : 2 * middle - 1);
  const extreme = weights.reduce((largest, weight) => Math.max(largest, Math.abs(weight)), 0);
  // Exact weights have a divisor of at least extreme/largestUnit, so the computation can stop at a smaller one.
  const divisor = commonDivisor(weights, extreme / largestUnit);
  if (extreme === 0) return superBlockOf(grid, weights, 1);
  if (!Number.isFinite(extreme)) return undefined;
  for (let parts = 1; extreme * parts <= largestUnit * divisor; parts++) {
    const factor = divisor / parts;
    // Both d and, in a type with minimums, dmin are in F16.
    if (![factor, grid.symmetric ? factor : middle * factor].every(isFloat16)) continue;
    const found = superBlockOf(grid, weights, factor);
    if (found) return found;
  }
}

/** Returns the greatest common divisor, or any number below `least` if it is below. `%` of two floats is exact. */
function commonDivisor(values: Float32Array, least: number): number {
  let divisor = 0;
  for (const value of values) {
    let rest = Math.abs(value);
    while (rest > 0) {
      const remainder = divisor % rest;
      divisor = rest;
      rest = remainder;
    }
    if (divisor > 0 && divisor < least) break;
  }
  return divisor;
}

function superBlockOf(grid: SuperBlockGrid, weights: Float32Array, factor: number): SuperBlock | undefined {
  const { groupSize } = grid, groups = SUPER_BLOCK_COLUMNS / groupSize;
  const codes = new Uint8Array(SUPER_BLOCK_COLUMNS);
  const scales = new Int8Array(groups), minimums = new Uint8Array(groups), middle = 2 ** (grid.bits - 1);
  for (let group = 0; group < groups; group++) {
    const begin = group * groupSize;
    const units = weights.subarray(begin, begin + groupSize).map((weight) => weight / factor);
    const found = groupOf(grid, units);
    if (!found) return undefined;
    const { scale, minimum } = found, lowest = grid.symmetric ? -middle * scale : -middle * minimum;
    scales[group] = scale;
    minimums[group] = minimum;
    units.forEach((unit, i) => codes[begin + i] = scale === 0 ? middle : (unit - lowest) / scale);
  }
  return { factor, codes, scales, minimums };
}

/**
 * Finds the integer n (`scale`) of a group, and in a type with minimums the integer m (`minimum`), with which the
 * integers `units` are n·(code − middle), or n·code − m·middle with minimums. n must divide all units, or with minimums
 * their distances.
 */
function groupOf(
  grid: SuperBlockGrid,
  units: Float32Array,
): { scale: number; minimum: number } | undefined {
  const { bits, symmetric } = grid, limit = scaleLimit(grid), middle = 2 ** (bits - 1);
  const low = Math.min(...units), high = Math.max(...units);
  if (low === 0 && high === 0) return { scale: 0, minimum: 0 };
  const divisor = commonDivisor(symmetric ? units : units.map((unit) => unit - low), 0);
  for (let size = limit; size >= 1; size--) {
    if (divisor % size !== 0) continue;
    for (const scale of symmetric ? [size, -size] : [size]) {
      for (let minimum = 0; minimum <= (symmetric ? 0 : limit); minimum++) {
        const lowest = -middle * (symmetric ? scale : minimum);
        const codes = [low, high].map((unit) => (unit - lowest) / scale);
        if (codes.every((code) => Number.isInteger(code) && code >= 0 && code < 2 * middle)) {
          return { scale, minimum };
        }
      }
    }
  }
}

/**
 * `ql`, 128 bytes with the lower four bits of the codes; `qh`, 64 bytes with the upper two bits; the signed scales; d.
 * In each half of 128 weights, weight i has nibble ⌊i/64⌋ of byte i mod 64 of `ql`, and the two bits from 2·⌊i/32⌋ of
 * byte i mod 32 of `qh`.
 */
export function packQ6K({ factor, codes, scales }: SuperBlock): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(210);
  for (const [index, code] of codes.entries()) {
    const half = index >> 7, i = index & 127;
    block[64 * half + i % 64] |= (code & 15) << 4 * (i >> 6);
    block[128 + 32 * half + i % 32] |= code >> 4 << 2 * (i >> 5);
  }
  block.set(new Uint8Array(scales.buffer), 192);
  writeFactor(block, 208, factor);
  return block;
}

/**
 * d; dmin; 12 bytes with the scales and minimums; 128 bytes with the codes. Each 64 weights have 32 bytes, the first 32
 * weights in the lower nibbles.
 */
export function packQ4K({ factor, codes, scales, minimums }: SuperBlock): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(144);
  writeFactor(block, 0, factor);
  writeFactor(block, 2, 8 * factor);
  for (let i = 0; i < 4; i++) {
    // The first eight bytes have the first four scales and minimums, and above them the upper two bits of the last
    // four.
    block[4 + i] = scales[i] | scales[i + 4] >> 4 << 6;
    block[8 + i] = minimums[i] | minimums[i + 4] >> 4 << 6;
    block[12 + i] = scales[i + 4] & 15 | (minimums[i + 4] & 15) << 4;
  }
  for (const [i, code] of codes.entries()) block[16 + 32 * (i >> 6) + i % 32] |= code << 4 * (i >> 5 & 1);
  return block;
}

/**
 * 32 bytes, in which bit ⌊i/32⌋ of byte i mod 32 is the upper bit of code i; 64 bytes with the lower two bits of the
 * codes; 12 bytes with the scales plus 32; d.
 */
export function packQ3K({ factor, codes, scales }: SuperBlock): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(110);
  for (const [i, code] of codes.entries()) block[i % 32] |= code >> 2 << (i >> 5);
  packPairs(codes, block.subarray(32, 96));
  for (const [i, scale] of scales.entries()) {
    const stored = scale + 32;
    block[96 + i % 8] |= (stored & 15) << 4 * (i >> 3);
    block[104 + i % 4] |= stored >> 4 << 2 * (i >> 2);
  }
  writeFactor(block, 108, factor);
  return block;
}

/** 16 bytes, each with a scale and above it a minimum of four bits; 64 bytes with the codes; d; dmin. */
export function packQ2K({ factor, codes, scales, minimums }: SuperBlock): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(84);
  for (const [i, scale] of scales.entries()) block[i] = scale | minimums[i] << 4;
  packPairs(codes, block.subarray(16, 80));
  writeFactor(block, 80, factor);
  writeFactor(block, 82, 2 * factor);
  return block;
}

/** Writes the lower two bits of each code: in each half of 128 weights, at bit 2·⌊i/32⌋ of byte i mod 32. */
function packPairs(codes: Uint8Array, pairs: Uint8Array): void {
  for (const [i, code] of codes.entries()) pairs[32 * (i >> 7) + i % 32] |= (code & 3) << 2 * (i >> 5 & 3);
}

function writeFactor(block: Uint8Array<ArrayBuffer>, at: number, factor: number): void {
  new DataView(block.buffer).setFloat16(at, factor, true);
}
