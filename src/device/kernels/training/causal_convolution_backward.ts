/** The backward pass of the convolution before linear attention (`forward/causal_convolution.ts`). */

import { causalConvolution, convolutionCase } from "../forward/causal_convolution.ts";
import { defineKernel, linearGrid } from "../kernel.ts";
import { signed, sumRoundings } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/causal_convolution_backward.wgsl" with { type: "text" };

const { past: _, ...params } = causalConvolution.params;

/**
 * Adds the gradient of x of `causalConvolution` without earlier tokens. For each token t, head h and dimension d, with channel c = first +
 * h·head_dim + d: x_gradient_t[h, d] ← x_gradient_t[h, d] + Σ_i weight[c·taps + taps − 1 − i]·gradient_{t + i}[c], over the tokens t + i of
 * the window. `x_gradient` has the layout of x, and `gradient` the layout of y. The weights get no gradient. The parameters are the same as
 * for `causalConvolution`, without `past`. All buffers hold f32.
 */
export const causalConvolutionBackward = defineKernel({
  name: "causal_convolution_backward",
  bindings: { weight: "read", gradient: "read", x_gradient: "read_write" },
  params,
  shader: { code: shared + code, grid: (p) => linearGrid(p.batch * p.tokens * p.heads * p.head_dim, 256) },
  cases: () => [convolutionBackwardCase({ batch: 2, tokens: 21, heads: 3, head_dim: 7 })],
});

/** A case with padding after each head and each row. */
export function convolutionBackwardCase(size: Omit<Parameters<typeof convolutionCase>[0], "past">) {
  const { params: { past: _, ...params }, buffers } = convolutionCase(size);
  return {
    params,
    buffers: () => {
      const { x, weight, y } = buffers();
      return { weight, gradient: signed(y.length, 836), x_gradient: x };
    },
    roundings: { x_gradient: sumRoundings(params.taps) },
  };
}
