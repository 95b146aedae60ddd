/** Packs super-blocks as `ggml-common.h` in github.com/ggml-org/llama.cpp defines them. */

import type { SuperBlock } from "./super_blocks.ts";

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
