import type { Params, Reference } from "../kernel_reference.ts";

/** The first token to which token t attends: of all tokens, of a sliding window, or of its chunk (LLaMA 4). */
export function firstKey(t: number, { window, chunked }: Params): number {
  if (window === 0) return 0;
  return chunked ? Math.floor(t / window) * window : Math.max(0, t - window + 1);
}

/**
 * Causal self-attention from its definition (Vaswani et al., arXiv 1706.03762): one query at a time, with the complete
 * softmax. Each key head serves heads/kv_heads consecutive query heads (Ainslie et al., arXiv 2305.13245). The scores may be
 * limited (Gemma 2, arXiv 2408.00118), biased by ALiBi (Press et al., arXiv 2108.12409) and restricted to a sliding window
 * (Beltagy et al., arXiv 2004.05150). Sinks take a part of the softmax (gpt-oss, arXiv 2508.10925).
 */
export const attention: Reference = ({ q, k, v, slopes, sinks, out }, p) => {
  const { batch, tokens, past, heads, kv_heads, head_dim, head_stride } = p;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h * kv_heads / heads) * head_stride;
      for (let t = past; t < past + tokens; t++) {
        const row = b * tokens + t - past, query = p.q_offset + row * p.ldq + h * head_stride;
        const keyRow = (s: number) => b * (past + tokens) + s;
        const first = firstKey(t, p);
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          const key = p.k_offset + keyRow(s) * p.ldk + kvHead;
          let dot = 0;
          for (let d = 0; d < head_dim; d++) dot += q[query + d] * k[key + d];
          const score = p.soft_cap ? p.soft_cap * Math.tanh(p.scale * dot / p.soft_cap) : p.scale * dot;
          scores.push(score + slopes[h] * (s - t));
        }
        if (p.has_sinks) scores.push(sinks[h]); // a score without a value
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const target = row * p.ldo + h * head_dim, sums = new Float64Array(head_dim);
        weights.slice(0, t + 1 - first).forEach((weight, i) => {
          const value = p.v_offset + keyRow(first + i) * p.ldv + kvHead;
          for (let d = 0; d < head_dim; d++) sums[d] += weight / total * v[value + d];
        });
        for (let d = 0; d < head_dim; d++) out[target + d] = sums[d];
      }
    }
  }
};
