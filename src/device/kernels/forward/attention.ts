/** Causal self-attention over a batch of windows. A window is a run of consecutive tokens that attend to each other. */

import { defineKernel, f32, type Grid, type ShaderVariant, u32 } from "../kernel.ts";
import { EXPONENTIAL, filled, signed, sumRoundings } from "../kernel_case.ts";
import bindings from "../../../../shaders/shared/attention_forward.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/attention.wgsl" with { type: "text" };
import softCap from "../../../../shaders/shared/soft_cap.wgsl" with { type: "text" };
import code from "../../../../shaders/attention.wgsl" with { type: "text" };
import tiledCode from "../../../../shaders/attention_tiled.wgsl" with { type: "text" };

/** The queries per workgroup, as in shaders/shared/attention.wgsl. */
const QUERIES = 64;
/** The most quads of the output of a workgroup, as in shaders/attention.wgsl. */
const PART = 64;

/**
 * For each token t, head h and dimension d:
 * out[…, h·head_dim + d] ← Σ_s softmax_s(cap(scale·q·k_s) + slopes[h]·(s − t))·v_s[d].
 *
 * Here q is the query of token t, and k_s and v_s are the key and the value of token s. A window has the tokens 0 …
 * past + tokens − 1. Only the last `tokens` of them have queries and outputs. The keys and values of the others were
 * computed before. The sum is over the tokens s ≤ t of the same window. If the parameter `window` is positive, the sum is only
 * over the tokens s > t − window. With `chunked` = 1, it is over the tokens s in the chunk of t, where each `window` tokens are a
 * chunk. `slopes`, (heads) f32, has the ALiBi slopes, or zeros for no ALiBi. If `soft_cap` is positive, cap(x) is
 * soft_cap·tanh(x/soft_cap), and otherwise x. With `has_sinks` = 1, the sum in the denominator of the softmax has a further term,
 * exp(sinks[h]), and `sinks` is (heads) f32. Otherwise it is not read.
 *
 * Row b·tokens + i of q and out belongs to token past + i of window b, and row b·(past + tokens) + s of k and v to its
 * token s. Head h of q starts at column q_offset + h·head_stride, and the rows of q are `ldq` elements apart. Several
 * heads of q may share a head of k and v. Head h uses their head h' = ⌊h·kv_heads/heads⌋. That head starts at column
 * k_offset + h'·head_stride of k and at column v_offset + h'·head_stride of v. All buffers hold f32. The largest score
 * is subtracted before exp, so that the softmax does not overflow.
 *
 * An adapter whose `rounds` is `bfloat16` may round q, k, v and the softmax's numerators to bfloat16, but no sums.
 *
 * `head_dim` is at most 512. A workgroup computes at most 256 dimensions of the output, so wider heads compute their scores
 * twice.
 */
export const attention = defineKernel({
  name: "attention",
  bindings: { q: "read", k: "read", v: "read", slopes: "read", sinks: "read", out: "read_write" },
  params: {
    ...u32("batch", "tokens", "past", "heads", "kv_heads", "head_dim", "head_stride"),
    ...u32("q_offset", "ldq", "k_offset", "ldk", "v_offset", "ldv", "ldo"),
    ...f32("scale"),
    ...u32("window"),
    ...f32("soft_cap"),
    ...u32("chunked", "has_sinks"),
  },
  shader: tiledShader(4),
  variants: { "64 dimensions": tiledShader(1), "128 dimensions": tiledShader(2) },
  variantFor: variantForHeads,
  softwareShader: { code: bindings + shared + softCap + code, grid: (p) => grid(p, 4 * PART) },
  rounded: {
    count: 3,
    // A pass of few tokens, as when a text is generated, reads much of the cached keys and values but changes few.
    isWorthwhile: ({ past }) => past === 0,
    // Rounding the numerators of the softmax changes their mean by at most 2⁻⁹ of the largest value.
    roundings: 2 ** 15,
  },
  roundedOutput: ({ batch, tokens, heads, head_dim, ldo }) =>
    ldo === heads * head_dim ? batch * tokens * ldo : 0,
  cases: () => [
    {
      feature: "shared keys",
      ...attentionCase({ batch: 2, tokens: 70, heads: 4, kv_heads: 2, head_dim: 20 }),
    },
    { feature: "ALiBi", ...attentionCase({ tokens: 130, head_dim: 64 }, [2 ** -2, 2 ** -5]) },
    { feature: "sliding window", ...attentionCase({ tokens: 150, kv_heads: 1, head_dim: 33, window: 37 }) },
    { feature: "wide heads", ...attentionCase({ tokens: 131, kv_heads: 1, head_dim: 100 }) },
    { feature: "soft cap", ...attentionCase({ tokens: 33, heads: 1, head_dim: 256, soft_cap: 2 }) },
    {
      feature: "chunks",
      ...attentionCase({ tokens: 150, kv_heads: 1, head_dim: 33, window: 37, chunked: 1 }),
    },
    {
      feature: "sinks",
      ...attentionCase({ tokens: 75, kv_heads: 1, head_dim: 33, window: 7, has_sinks: 1 }),
    },
    {
      feature: "earlier tokens and widest heads",
      ...attentionCase({ batch: 2, tokens: 3, past: 68, kv_heads: 1, head_dim: 300, scale: 1 / 16 }),
    },
  ],
});

type AttentionParams = Readonly<Record<"batch" | "tokens" | "heads" | "head_dim", number>>;

/** Returns the name of the shader for the narrowest heads that fit, or undefined for heads of over 128 dimensions. */
export function variantForHeads({ head_dim }: Pick<AttentionParams, "head_dim">): string | undefined {
  return head_dim <= 64 ? "64 dimensions" : head_dim <= 128 ? "128 dimensions" : undefined;
}

/** @param dims the most dimensions of the output of a workgroup */
function grid({ tokens, heads, head_dim, batch }: AttentionParams, dims: number): Grid {
  return [Math.ceil(tokens / QUERIES), heads * Math.ceil(head_dim / dims), batch];
}

/**
 * Declares `attention_tiled.wgsl` with up to 64·width dimensions of the output per workgroup, where `width` is 1, 2 or 4. With
 * smaller widths, each invocation needs fewer registers.
 */
function tiledShader(width: number): ShaderVariant<keyof AttentionParams> {
  return {
    code: bindings + shared + softCap + tiledCode,
    constants: { WIDTH: width },
    grid: (p) => grid(p, 64 * width),
  };
}

/**
 * The size of a case: by default one window, two heads with keys of their own, and no earlier tokens, window, cap or sinks.
 */
type AttentionSize =
  & Readonly<Record<"tokens" | "head_dim", number>>
  & Readonly<
    Partial<
      Record<
        "batch" | "past" | "heads" | "kv_heads" | "window" | "soft_cap" | "chunked" | "has_sinks" | "scale",
        number
      >
    >
  >;

/** A case with padding after each head and each row. `slopes` are the ALiBi slopes of the heads. */
export function attentionCase(size: AttentionSize, slopes: readonly number[] = []) {
  const { tokens, head_dim, batch = 1, past = 0, heads = 2, kv_heads = heads, window = 0, soft_cap = 0 } =
    size;
  const { chunked = 0, has_sinks = 0, scale = 2 / Math.sqrt(head_dim) } = size;
  const rows = batch * tokens, keys = batch * (past + tokens), head_stride = head_dim + 1;
  const ldq = heads * head_stride + 5,
    ldk = kv_heads * head_stride + 4,
    ldv = ldk + 3,
    ldo = heads * head_dim + 6;
  const place = { head_stride, q_offset: 3, ldq, k_offset: 2, ldk, v_offset: 1, ldv, ldo };
  return {
    params: {
      tokens,
      head_dim,
      batch,
      past,
      heads,
      kv_heads,
      window,
      soft_cap,
      chunked,
      has_sinks,
      ...place,
      scale,
    },
    buffers: () => ({
      q: signed(3 + rows * ldq, 401).map((value) => 2 * value),
      k: signed(2 + keys * ldk, 402).map((value) => 2 * value),
      v: signed(1 + keys * ldv, 403),
      slopes: filled(heads, 0).map((_, head) => slopes[head] ?? 0),
      sinks: signed(heads, 409).map((value) => 3 * value),
      out: filled(rows * ldo),
    }),
    roundings: { out: EXPONENTIAL + sumRoundings(past + tokens) + sumRoundings(head_dim) },
  };
}
