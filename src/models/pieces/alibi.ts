/**
 * The slopes of ALiBi (Press et al., arXiv 2108.12409). A model with ALiBi has no position embeddings.
 * Instead, each attention head has a slope. The attention score of two tokens is lowered by the slope times
 * the distance between the tokens.
 */

/**
 * Computes BLOOM's slopes for a number of heads. If `heads` is a power of two, head h = 1 … heads has the
 * slope 2^(−8h/heads). Otherwise, the list starts with all slopes for the next smaller power of two. The
 * remaining heads have the first, third, fifth … slope for the next larger power of two.
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
