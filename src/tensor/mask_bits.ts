/**
 * The bit layout of masks over a weight matrix: one bit per entry, least significant bit first. On a device a
 * row has ⌈cols/32⌉ u32 words, and in a file it has ⌈cols/8⌉ bytes.
 */

/** The number of u32 words in one row of a mask with `cols` columns, on a device. */
export function wordsPerRow(cols: number): number {
  return Math.ceil(cols / 32);
}

/** The number of bytes in one row of a mask with `cols` columns, in a file. */
export function maskRowBytes(cols: number): number {
  return Math.ceil(cols / 8);
}

/** Counts the bits of `words` that are 1. */
export function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}
