/** ALiBi (Press et al., arXiv 2108.12409): a slope a head instead of positions. */

/**
 * The slopes, as BLOOM's: of a power of two, 2^(−8h/heads) for h = 1 … heads; otherwise those of the power of two
 * below, then every other one of the power above.
 */
export function alibiSlopes(heads: number): Float32Array<ArrayBuffer> {
  const below = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from(
    { length: heads },
    (_, h) => h < below ? 2 ** (-8 * (h + 1) / below) : 2 ** (-4 * (2 * (h - below) + 1) / below),
  );
}
