import type { Reference } from "../kernel_reference.ts";
import { eachVisiblePair } from "./attention_backward.ts";

/** The log-sum-exp of the scores of each query and head, and Σ d_out·out (D in Dao et al., arXiv 2205.14135, appendix B.4). */
export const attention_statistics: Reference = ({ q, k, slopes, sinks, out, d_out, statistics }, p) => {
  const count = p.heads * p.batch * p.tokens, scores: number[][] = [];
  eachVisiblePair({ q, k, slopes }, p, ({ index, score }) => (scores[index] ??= []).push(score));
  for (const [index, own] of scores.entries()) {
    const head = Math.floor(index / (count / p.heads)), row = index % (count / p.heads);
    if (p.has_sinks) own.push(sinks[head]);
    const largest = Math.max(...own);
    const sum = own.reduce((total, score) => total + Math.exp(score - largest), 0);
    const start = row * p.ldo + head * p.head_dim;
    let product = 0;
    for (let d = start; d < start + p.head_dim; d++) product += d_out[d] * out[d];
    statistics[index] = largest + Math.log(sum);
    statistics[count + index] = product;
  }
};
