/** Chooses the windows of a tokenized text that calibration runs on. */

/** Which windows. */
export interface WindowOptions {
  /** How many. */
  readonly windows: number;
  /** Tokens in each. */
  readonly seqlen: number;
  /** Draw the starts at random, the same ones for the same seed. Otherwise they are evenly spaced. */
  readonly seed?: number;
}

/**
 * `windows` views of `tokens`: window i starts at i·⌊tokens/windows⌋, or at a random place, where windows may overlap, as in
 * the published code.
 * @throws {RangeError} the text is too short: names how many tokens it has and needs
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

/** Uniform numbers in [0, 1): Tommy Ettinger's mulberry32 (public domain). */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
