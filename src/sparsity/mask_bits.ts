/** Masks as u32 bits, ⌈cols/32⌉ words a row, least significant bit first: their size, and counting them on the host. */

/** Words a row of `cols` entries takes. */
export function wordsPerRow(cols: number): number {
  return Math.ceil(cols / 32);
}

/** How many bits of `words` are 1. */
export function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}
