/**
 * Causal self-attention in naive float64, softmax(q·kᵀ·scale + bias)·v (Vaswani et al., arXiv 1706.03762), with grouped key heads and
 * ALiBi slopes. It handles one query at a time and never splits a softmax.
 */

/** The shapes of one attention problem. All matrices are row-major without padding. */
export interface AttentionShape {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /** The number of keys that a query attends to, its own position included; 0 means all positions up to its own. */
  readonly window: number;
}

/**
 * Computes attention of q (batch·tokens, heads·headDim) over k and v (batch·tokens, kvHeads·headDim), with one ALiBi slope per head in
 * `slopes` (heads). Each run of heads/kvHeads consecutive query heads shares one key head.
 * @returns the attended values, in the shape of q
 */
export function referenceAttention(
  shape: AttentionShape,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  slopes: ArrayLike<number>,
): Float64Array {
  const { batch, tokens, heads, kvHeads, headDim, scale, window } = shape;
  const width = heads * headDim, kvWidth = kvHeads * headDim;
  const out = new Float64Array(batch * tokens * width);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h * kvHeads / heads);
      for (let t = 0; t < tokens; t++) {
        const row = (b * tokens + t) * width + h * headDim;
        const keyRow = (s: number) => (b * tokens + s) * kvWidth + kvHead * headDim;
        const first = window > 0 ? Math.max(0, t - window + 1) : 0;
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          let dot = 0;
          for (let d = 0; d < headDim; d++) dot += q[row + d] * k[keyRow(s) + d];
          scores.push(scale * dot + slopes[h] * (s - t));
        }
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        weights.forEach((weight, i) => {
          for (let d = 0; d < headDim; d++) out[row + d] += weight / total * v[keyRow(first + i) + d];
        });
      }
    }
  }
  return out;
}
