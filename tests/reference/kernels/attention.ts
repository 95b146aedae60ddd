import type { Reference } from "../kernel_reference.ts";

/**
 * Causal self-attention from its definition (Vaswani et al., arXiv 1706.03762): one query at a time, with the complete
 * softmax. Each key head serves heads/kv_heads consecutive query heads (Ainslie et al., arXiv 2305.13245). The scores may be
 * limited (Gemma 2, arXiv 2408.00118), biased by ALiBi (Press et al., arXiv 2108.12409) and restricted to a sliding window
 * (Beltagy et al., arXiv 2004.05150).
 */
export const attention: Reference = ({ q, k, v, slopes, out }, p) => {
  const { batch, tokens, past, heads, kv_heads, head_dim, head_stride } = p;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h * kv_heads / heads) * head_stride;
      for (let t = past; t < past + tokens; t++) {
        const row = b * tokens + t - past, query = p.q_offset + row * p.ldq + h * head_stride;
        const keyRow = (s: number) => b * (past + tokens) + s;
        const first = p.window > 0 ? Math.max(0, t - p.window + 1) : 0;
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          const key = p.k_offset + keyRow(s) * p.ldk + kvHead;
          let dot = 0;
          for (let d = 0; d < head_dim; d++) dot += q[query + d] * k[key + d];
          const score = p.soft_cap ? p.soft_cap * Math.tanh(p.scale * dot / p.soft_cap) : p.scale * dot;
          scores.push(score + slopes[h] * (s - t));
        }
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const target = row * p.ldo + h * head_dim, sums = new Float64Array(head_dim);
        weights.forEach((weight, i) => {
          const value = p.v_offset + keyRow(first + i) * p.ldv + kvHead;
          for (let d = 0; d < head_dim; d++) sums[d] += weight / total * v[value + d];
        });
        for (let d = 0; d < head_dim; d++) out[target + d] = sums[d];
      }
    }
  }
};
