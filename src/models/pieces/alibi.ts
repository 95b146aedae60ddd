/**
 * The slopes of ALiBi (Press et al., arXiv 2108.12409). A model with ALiBi has no position embeddings. Each attention head
 * subtracts a slope times the distance between two tokens from their score.
 */

/**
 * Computes BLOOM's slopes for a number of heads. If it is a power of two, the slopes are 2^(−8h/heads) for h = 1 … heads.
 * Otherwise they are the slopes for the next smaller power of two, followed by the first, third, fifth … slope for the next
 * larger power of two.
 * @returns (heads) f32
 */
export function alibiSlopes(heads: number): Float32Array<ArrayBuffer> {
  const powerOfTwo = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from(
    { length: heads },
    (_, h) =>
      h < powerOfTwo ? 2 ** (-8 * (h + 1) / powerOfTwo) : 2 ** (-4 * (2 * (h - powerOfTwo) + 1) / powerOfTwo),
  );
}
