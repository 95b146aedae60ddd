/** Chooses calibration samples: windows of equal length from a tokenized text. */

export interface WindowOptions {
  readonly windows: number;
  readonly seqlen: number;
  /** The seed of the random starts. Equal seeds give equal starts. @default undefined, which spaces the starts evenly */
  readonly seed?: number;
}

/**
 * Returns the windows as views of `tokens`. Without a seed, window i starts at token i·⌊tokens/windows⌋. With a seed, each window starts at
 * a random token and windows may overlap, as in the code published with SparseGPT.
 * @throws {RangeError} if the text is too short. The message says how many tokens the text has and how many are needed.
 */
export function calibrationWindows(
  tokens: Uint32Array,
  { windows, seqlen, seed }: WindowOptions,
): Uint32Array[] {
  const step = Math.floor(tokens.length / windows);
  const needed = seed === undefined ? windows * seqlen : seqlen;
  if (tokens.length < needed) {
    throw new RangeError(
      `calibration text: has ${tokens.length} tokens, but ${windows} windows of ${seqlen} need ${needed}`,
    );
  }
  const random = seed === undefined ? undefined : uniform(seed);
  return Array.from({ length: windows }, (_, i) => {
    const start = random ? Math.floor(random() * (tokens.length - seqlen + 1)) : i * step;
    return tokens.subarray(start, start + seqlen);
  });
}

/** A generator of uniformly distributed numbers in [0, 1): mulberry32 by Tommy Ettinger (public domain). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
