/** The numbers of each query and head that the gradients of attention need. */

import { attentionCase } from "../forward/attention.ts";
import { defineKernel } from "../kernel.ts";
import { EXPONENTIAL, signed, sumRoundings } from "../kernel_case.ts";
import { ATTENTION_GRADIENT_PARAMS, TOKENS } from "./attention_patch.ts";
import patch from "../../../../shaders/shared/attention_patch.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/attention.wgsl" with { type: "text" };
import softCap from "../../../../shaders/shared/soft_cap.wgsl" with { type: "text" };
import code from "../../../../shaders/attention_statistics.wgsl" with { type: "text" };

/**
 * For each row r of q, and each head h, with the scores and the sum over s of the softmax in `attention`:
 * statistics[h·rows + r] ← log Σ_s exp(score_s), where sinks are terms of the sum, and statistics[(heads + h)·rows + r] ← Σ_d d_out[r, h, d]·out[r, h, d].
 *
 * Here rows = batch·tokens. `out` is the result of `attention` for the same operands without earlier tokens, and
 * `d_out` is the gradient of a loss with respect to `out`, in the layout of `out`. The parameters are the same as for
 * `attention`, and v_offset and ldv are ignored. All buffers hold f32. `head_dim` is at most 512.
 */
export const attentionStatistics = defineKernel({
  name: "attention_statistics",
  bindings: {
    q: "read",
    k: "read",
    slopes: "read",
    sinks: "read",
    out: "read",
    d_out: "read",
    statistics: "read_write",
  },
  params: ATTENTION_GRADIENT_PARAMS,
  shader: {
    code: patch + shared + softCap + code,
    grid: ({ tokens, heads, batch }) => [Math.ceil(tokens / TOKENS), heads, batch],
  },
  cases: () => [
    {
      feature: "shared keys",
      ...attentionStatisticsCase({ batch: 2, tokens: 70, heads: 4, kv_heads: 2, head_dim: 20 }),
    },
    {
      feature: "ALiBi",
      ...attentionStatisticsCase({ tokens: 130, head_dim: 64 }, [2 ** -2, 2 ** -5]),
    },
    {
      feature: "sliding window",
      ...attentionStatisticsCase({ tokens: 150, kv_heads: 1, head_dim: 33, window: 37 }),
    },
    {
      feature: "chunks and sinks",
      ...attentionStatisticsCase({
        tokens: 150,
        kv_heads: 1,
        head_dim: 33,
        window: 37,
        chunked: 1,
        has_sinks: 1,
      }),
    },
    {
      feature: "soft cap",
      ...attentionStatisticsCase({ tokens: 33, heads: 1, head_dim: 16, soft_cap: 4 }),
    },
  ],
});

/** A case with padding after each head and each row. `out` has random numbers between −¼ and ¼. */
export function attentionStatisticsCase(
  size: Parameters<typeof attentionCase>[0],
  slopes: readonly number[] = [],
) {
  const { params: { past: _, ...params }, buffers } = attentionCase(size, slopes);
  return {
    params,
    buffers: () => {
      const { q, k, slopes, sinks, out } = buffers();
      return {
        q,
        k,
        slopes,
        sinks,
        out: signed(out.length, 404).map((value) => value / 4),
        d_out: signed(out.length, 405),
        statistics: signed(2 * params.heads * params.batch * params.tokens + 3, 408),
      };
    },
    roundings: { statistics: EXPONENTIAL + sumRoundings(params.tokens) + sumRoundings(params.head_dim) },
  };
}
