/**
 * The bit layout of masks over a weight matrix: one bit per entry, ⌈cols/32⌉ u32 words per row, least significant bit
 * first.
 */

/** The number of u32 words in one row of a mask with `cols` columns. */
export function wordsPerRow(cols: number): number {
  return Math.ceil(cols / 32);
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
