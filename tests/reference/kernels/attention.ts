/**
 * Causal self-attention in float64, from its definition (Vaswani et al., arXiv 1706.03762): one query at a
 * time, with the complete softmax. The code supports key heads that several query heads share (grouped-query
 * attention; Ainslie et al., arXiv 2305.13245), position biases (ALiBi; Press et al., arXiv 2108.12409) and a
 * sliding window (Beltagy et al., arXiv 2004.05150).
 */

import { eachElement, type Reference } from "../kernel_reference.ts";

/** The sizes and settings of one call. The rows of the matrices have no padding. */
export interface AttentionShape {
  readonly batch: number;
  /** The number of queries of a window, which belong to its last tokens. */
  readonly tokens: number;
  /** The number of tokens before the first query. @default 0 */
  readonly past?: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /**
   * The number of latest keys that a query can see, including its own. With 0, a query sees all keys up to
   * its own.
   */
  readonly window: number;
  /** The limit c of the scores, which are replaced by c·tanh(score/c) (Gemma 2, arXiv 2408.00118). Without it, scores have no limit. */
  readonly softCap?: number;
}

/**
 * Computes attention. Each key head serves heads/kvHeads consecutive query heads.
 *
 * @param q the queries, (batch·tokens, heads·headDim)
 * @param k the keys, (batch·(past + tokens), kvHeads·headDim)
 * @param v the values, shaped as k
 * @param slopes the ALiBi slope of each query head, (heads); all 0 for no position bias
 * @returns the attended values, shaped as q
 */
export function referenceAttention(
  shape: AttentionShape,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  slopes: ArrayLike<number>,
): Float64Array {
  const { batch, tokens, past = 0, heads, kvHeads, headDim, scale, window, softCap } = shape;
  const width = heads * headDim, kvWidth = kvHeads * headDim;
  const out = new Float64Array(batch * tokens * width);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h * kvHeads / heads);
      for (let t = past; t < past + tokens; t++) {
        const row = (b * tokens + t - past) * width + h * headDim;
        const keyRow = (s: number) => (b * (past + tokens) + s) * kvWidth + kvHead * headDim;
        const first = window > 0 ? Math.max(0, t - window + 1) : 0;
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          let dot = 0;
          for (let d = 0; d < headDim; d++) dot += q[row + d] * k[keyRow(s) + d];
          const score = softCap ? softCap * Math.tanh(scale * dot / softCap) : scale * dot;
          scores.push(score + slopes[h] * (s - t));
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

/** Cuts all heads of an operand of attention out of its buffer, without padding. */
function headsOf(
  buffer: ArrayLike<number>,
  rows: number,
  heads: number,
  size: number,
  stride: number,
  offset: number,
  ld: number,
) {
  return Float64Array.from({ length: rows * heads * size }, (_, i) => {
    const row = Math.floor(i / (heads * size)), head = Math.floor(i / size) % heads;
    return buffer[offset + row * ld + head * stride + i % size];
  });
}

export const attention: Reference = ({ q, k, v, slopes, out }, p) => {
  const rows = p.batch * p.tokens, keys = p.batch * (p.past + p.tokens), width = p.heads * p.head_dim;
  const result = referenceAttention(
    {
      batch: p.batch,
      tokens: p.tokens,
      past: p.past,
      heads: p.heads,
      kvHeads: p.kv_heads,
      headDim: p.head_dim,
      scale: p.scale,
      window: p.window,
      softCap: p.soft_cap || undefined,
    },
    headsOf(q, rows, p.heads, p.head_dim, p.head_stride, p.q_offset, p.ldq),
    headsOf(k, keys, p.kv_heads, p.head_dim, p.head_stride, p.k_offset, p.ldk),
    headsOf(v, keys, p.kv_heads, p.head_dim, p.head_stride, p.v_offset, p.ldv),
    slopes,
  );
  eachElement(rows, width, (r, c) => out[r * p.ldo + c] = result[r * width + c]);
};
