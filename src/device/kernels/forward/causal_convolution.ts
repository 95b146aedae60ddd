/** The convolution before linear attention. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { coarse, filled, signed, sumRoundings } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/causal_convolution.wgsl" with { type: "text" };

/**
 * A depthwise causal convolution over the tokens of each window. For each t of the last `tokens` tokens, head h and dimension d,
 * with channel c = first + h·head_dim + d: y[…, c] ← Σ_i weight[c·taps + i]·x_s[h, d], where s = t − taps + 1 + i.
 *
 * Terms with s < 0 are zero. A window has the tokens 0 … past + tokens − 1. Row b·(past + tokens) + s of x belongs to token s
 * of window b, and row b·tokens + t − past of y to token t. The rows of x are `ldx` elements apart, and head h starts at
 * column offset + h·head_stride. The rows of y are `ldy` elements apart. All buffers hold f32.
 */
export const causalConvolution = defineKernel({
  name: "causal_convolution",
  bindings: { x: "read", weight: "read", y: "read_write" },
  params: {
    ...u32("batch", "tokens", "past", "taps", "heads", "head_dim", "head_stride", "offset"),
    ...u32("ldx", "first", "ldy"),
  },
  shader: { code: shared + code, grid: (p) => linearGrid(p.batch * p.tokens * p.heads * p.head_dim, 256) },
  cases: () => [
    { feature: "heads far apart", ...convolutionCase({ batch: 2, tokens: 21, heads: 3, head_dim: 7 }) },
    { feature: "earlier tokens", ...convolutionCase({ batch: 2, tokens: 3, past: 9, head_dim: 30 }) },
    {
      // One invocation runs 70,000 iterations. The software adapter of Mesa 22.3 ends the loops of an invocation
      // after 65,535 iterations, without an error. So this case refuses that adapter. The sum has no rounding errors.
      feature: "70,000 taps",
      params: {
        ...{ batch: 1, tokens: 1, past: 69_999, taps: 70_000, heads: 1, head_dim: 1, head_stride: 1 },
        ...{ offset: 0, ldx: 1, first: 0, ldy: 1 },
      },
      buffers: () => ({ x: coarse(70_000, 453), weight: coarse(70_000, 454), y: filled(1) }),
    },
  ],
});

type ConvolutionSize =
  & Readonly<Record<"tokens" | "head_dim", number>>
  & Readonly<Partial<Record<"batch" | "past" | "taps" | "heads", number>>>;

/** A case with padding after each head and each row. By default it has one window, one head, 4 taps and no earlier tokens. */
export function convolutionCase(
  { tokens, head_dim, batch = 1, past = 0, taps = 4, heads = 1 }: ConvolutionSize,
) {
  const first = 3, channels = first + heads * head_dim, head_stride = head_dim + 2;
  const ldx = heads * head_stride + 5, ldy = channels + 4;
  return {
    params: { batch, tokens, past, taps, heads, head_dim, head_stride, offset: 2, ldx, first, ldy },
    buffers: () => ({
      x: signed(2 + batch * (past + tokens) * ldx, 451),
      weight: signed(channels * taps, 452),
      y: filled(batch * tokens * ldy),
    }),
    roundings: { y: sumRoundings(taps) },
  };
}
