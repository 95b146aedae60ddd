import type { Contents, Params, Reference } from "../kernel_reference.ts";
import { firstKey } from "./attention.ts";

/** A query and a key that it sees, of one head. */
interface Pair {
  /** The index of the query's log-sum-exp in `statistics`. */
  readonly index: number;
  /** The first elements of the query in q, the key in k, the value in v, and the output in d_out. */
  readonly query: number;
  readonly key: number;
  readonly value: number;
  readonly output: number;
  readonly score: number;
  /** The derivative of the score with respect to the dot product of query and key. */
  readonly slope: number;
}

/** Visits every query, every head of q, and every key that the query sees. The formula of the score is in attention.ts. */
export function eachVisiblePair(
  { q, k, slopes }: Pick<Contents, "q" | "k" | "slopes">,
  p: Params,
  visit: (pair: Pair) => void,
): void {
  const rows = p.batch * p.tokens;
  for (let h = 0; h < p.heads; h++) {
    const kvHead = Math.floor(h * p.kv_heads / p.heads) * p.head_stride;
    for (let row = 0; row < rows; row++) {
      const t = row % p.tokens, query = p.q_offset + row * p.ldq + h * p.head_stride;
      for (let s = firstKey(t, p); s <= t; s++) {
        const keyRow = row - t + s, key = p.k_offset + keyRow * p.ldk + kvHead;
        let dot = 0;
        for (let d = 0; d < p.head_dim; d++) dot += q[query + d] * k[key + d];
        const scaled = p.scale * dot, capped = p.soft_cap ? Math.tanh(scaled / p.soft_cap) : 0;
        visit({
          index: h * rows + row,
          query,
          key,
          value: p.v_offset + keyRow * p.ldv + kvHead,
          output: row * p.ldo + h * p.head_dim,
          score: (p.soft_cap ? p.soft_cap * capped : scaled) + slopes[h] * (s - t),
          slope: p.scale * (1 - capped * capped),
        });
      }
    }
  }
}

/** Adds the gradient with respect to one operand, by the chain rule, pair by pair. */
function addGradient(
  { q, k, v, slopes, d_out, statistics, gradient }: Contents,
  p: Params,
  of: "q" | "k" | "v",
) {
  const half = p.heads * p.batch * p.tokens;
  eachVisiblePair({ q, k, slopes }, p, ({ index, query, key, value, output, score, slope }) => {
    const probability = Math.exp(score - statistics[index]);
    let dProbability = 0;
    for (let d = 0; d < p.head_dim; d++) dProbability += d_out[output + d] * v[value + d];
    const dProduct = probability * (dProbability - statistics[half + index]) * slope;
    for (let d = 0; d < p.head_dim; d++) {
      if (of === "q") gradient[query + d] += dProduct * k[key + d];
      else if (of === "k") gradient[key + d] += dProduct * q[query + d];
      else gradient[value + d] += probability * d_out[output + d];
    }
  });
}

export const attention_queries_backward: Reference = (buffers, p) => addGradient(buffers, p, "q");
export const attention_keys_backward: Reference = (buffers, p) => addGradient(buffers, p, "k");
export const attention_values_backward: Reference = (buffers, p) => addGradient(buffers, p, "v");
