/** Inputs for the kernels that select entries, and the rule by which their results choose entries. */

/** Packs bits into `words` u32 words per row. The function `at` returns whether a bit is 1. */
export function packBits(
  rows: number,
  words: number,
  at: (row: number, column: number) => boolean,
): Uint32Array<ArrayBuffer> {
  const packed = new Uint32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < words * 32; c++) if (at(r, c)) packed[r * words + (c >> 5)] |= 1 << (c & 31);
  }
  return packed;
}

/**
 * Returns 1 for each entry that a selection chooses, and 0 for the others. The rule is that of the kernel
 * `prune_block`: all keys below the threshold, and the first ties of each row.
 */
export function chosenEntries(
  keys: Uint32Array,
  [threshold, , ...remaining]: Uint32Array,
  cols: number,
): Uint8Array {
  return Uint8Array.from(keys, (key, i) => {
    if (key < threshold) return 1;
    const row = Math.floor(i / cols);
    return key === threshold && remaining[row] > 0 ? (remaining[row]--, 1) : 0;
  });
}

/** Distributions of scores that are difficult to select from. f32 represents all of the scores exactly. */
export const SCORE_DISTRIBUTIONS: Readonly<Record<string, (random: number, index: number) => number>> = {
  "normal scores": (random) => random,
  "three distinct scores": (random) => Math.round(Math.min(2, Math.abs(random))),
  "scores that are all zero": () => 0,
  "scores that are all equal": () => -1.5,
  "ascending scores": (_, index) => index,
  "scores in one binade": (_, index) => 1 + (index * 7919 % 65536) * 2 ** -23,
};
