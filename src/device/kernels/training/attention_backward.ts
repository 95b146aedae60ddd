/** The gradients of causal self-attention with respect to its queries, keys and values. */

import { attentionCase, variantForHeads } from "../forward/attention.ts";
import { defineKernel, type ShaderVariant } from "../kernel.ts";
import { EXPONENTIAL, signed, sumRoundings } from "../kernel_case.ts";
import { ATTENTION_GRADIENT_PARAMS, type AttentionGradientParams, TOKENS } from "./attention_patch.ts";
import patch from "../../../../shaders/shared/attention_patch.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/attention.wgsl" with { type: "text" };
import softCap from "../../../../shaders/shared/soft_cap.wgsl" with { type: "text" };
import code from "../../../../shaders/attention_backward.wgsl" with { type: "text" };

/** The operand of attention with respect to which a kernel computes the gradient. */
type Operand = "q" | "k" | "v";

/**
 * gradient ← gradient + ∂L/∂q, where `d_out` is ∂L/∂out of `attention`, in the layout of `out`, and `statistics` is the
 * result of `attention_statistics`. For each query t, key s ≤ t that it sees, and head h, named as in `attention`:
 *
 *     p = exp(cap(scale·q·k_s) + slopes[h]·(s − t) − statistics[log-sum-exp of t, h])
 *     g = p·(d_out·v_s − statistics[Σ d_out·out of t, h])·cap′(scale·q·k_s)·scale
 *     ∂L/∂q_t = Σ_s g·k_s,   ∂L/∂k_s = Σ_{t, h} g·q_t,   ∂L/∂v_s = Σ_{t, h} p·d_out_t
 *
 * The sums over h are over the heads that share the head of k and v. `gradient` has the layout of q, with `q_offset`,
 * `ldq` and `head_stride`, and its other elements are not changed. It must not be one of the other buffers. The
 * parameters are the same as for `attention` with the same operands and without earlier tokens. All buffers hold f32,
 * `head_dim` is at most 512, and every sum has a fixed order.
 */
export const attentionQueriesBackward = declareGradient("attention_queries_backward", "q");

/** gradient ← gradient + ∂L/∂k in the layout of k, as {@link attentionQueriesBackward} describes. */
export const attentionKeysBackward = declareGradient("attention_keys_backward", "k");

/** gradient ← gradient + ∂L/∂v in the layout of v, as {@link attentionQueriesBackward} describes. v is not read. */
export const attentionValuesBackward = declareGradient("attention_values_backward", "v");

/**
 * Declares attention_backward.wgsl with up to 64·width dimensions of the gradient per workgroup, where `width` is 1, 2 or 4.
 * With smaller widths, each invocation needs fewer registers. Software adapters compile one shader for all sizes, because compiling
 * takes them seconds.
 */
function declareGradient(name: string, operand: Operand) {
  const ofWidth = (width: number): ShaderVariant<keyof AttentionGradientParams> => ({
    code: patch + shared + softCap + code,
    constants: { WIDTH: width },
    grid: ({ tokens, heads, kv_heads, head_dim, batch }) => [
      Math.ceil(tokens / TOKENS),
      (operand === "q" ? heads : kv_heads) * Math.ceil(head_dim / (64 * width)),
      batch,
    ],
  });
  return defineKernel({
    name,
    bindings: {
      q: "read",
      k: "read",
      v: "read",
      slopes: "read",
      d_out: "read",
      statistics: "read",
      gradient: "read_write",
    },
    params: ATTENTION_GRADIENT_PARAMS,
    shader: ofWidth(4),
    variants: { "64 dimensions": ofWidth(1), "128 dimensions": ofWidth(2) },
    variantFor: variantForHeads,
    softwareShader: ofWidth(4),
    cases: () => casesOf(operand),
  });
}

function casesOf(operand: Operand) {
  const made = (...args: Parameters<typeof attentionCase>) => attentionBackwardCase(operand, ...args);
  return [
    { feature: "shared keys", ...made({ batch: 2, tokens: 70, heads: 4, kv_heads: 2, head_dim: 20 }) },
    { feature: "ALiBi", ...made({ tokens: 130, head_dim: 64 }, [2 ** -2, 2 ** -5]) },
    { feature: "sliding window", ...made({ tokens: 150, kv_heads: 1, head_dim: 33, window: 37 }) },
    { feature: "chunks", ...made({ tokens: 150, kv_heads: 1, head_dim: 33, window: 37, chunked: 1 }) },
    { feature: "wide heads", ...made({ tokens: 131, kv_heads: 1, head_dim: 100 }) },
    { feature: "widest heads", ...made({ tokens: 33, kv_heads: 1, head_dim: 300 }) },
    { feature: "soft cap", ...made({ tokens: 33, heads: 1, head_dim: 16, soft_cap: 2 }) },
  ];
}

/**
 * A case of the gradient with respect to one operand, with padding after each head and each row. The statistics are
 * random. Most scores are between −3 and 3, so that every visible key has an effect on the sums.
 */
export function attentionBackwardCase(operand: Operand, ...args: Parameters<typeof attentionCase>) {
  const { params: { past: _, ...params }, buffers } = attentionCase(...args);
  const queries = params.heads * params.batch * params.tokens;
  const terms = params.tokens * params.heads / params.kv_heads;
  return {
    params: { ...params, scale: 1 / Math.sqrt(params.head_dim) },
    buffers: () => {
      const { q, k, v, slopes, out } = buffers();
      return {
        q,
        k,
        v,
        slopes,
        d_out: signed(out.length, 405),
        statistics: signed(2 * queries, 406).map((value, i) => i < queries ? 3 + value : value),
        gradient: signed({ q, k, v }[operand].length, 407),
      };
    },
    roundings: { gradient: EXPONENTIAL + sumRoundings(terms) + 2 * sumRoundings(params.head_dim) },
  };
}
