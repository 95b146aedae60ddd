/** ALiBi (Press et al., arXiv 2108.12409): one slope per head instead of position embeddings. */

/**
 * Returns BLOOM's slopes. If the number of heads is a power of two, they are 2^(−8h/heads) for h = 1 … heads. Otherwise they are the slopes
 * for the next smaller power of two, followed by every other slope for the next larger one.
 */
export function alibiSlopes(heads: number): Float32Array<ArrayBuffer> {
  const below = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from(
    { length: heads },
    (_, h) => h < below ? 2 ** (-8 * (h + 1) / below) : 2 ** (-4 * (2 * (h - below) + 1) / below),
  );
}
