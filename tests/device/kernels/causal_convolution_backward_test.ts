/** Tests of the gradient of the causal convolution, and of its float64 reference against the convolution, which is linear. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { causalConvolution } from "../../../src/device/kernels/forward/causal_convolution.ts";
import {
  causalConvolutionBackward,
  convolutionBackwardCase,
} from "../../../src/device/kernels/training/causal_convolution_backward.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { runReference } from "../../reference/run_reference.ts";
import { testKernel } from "../../support/kernel_cases.ts";

it("the float64 gradient of a convolution is that of the dot product of its outputs with any vector", () => {
  const { params, buffers } = convolutionBackwardCase({ batch: 2, tokens: 6, heads: 2, head_dim: 3 });
  const { weight, gradient, x_gradient } = buffers(), y = new Float32Array(gradient.length);
  const added = runReference(causalConvolutionBackward, { weight, gradient, x_gradient }, params).x_gradient;
  const sumOf = (x: Float32Array) => {
    const convolved = runReference(causalConvolution, { x, weight, y }, { ...params, past: 0 }).y;
    return gradient.reduce((sum, value, i) => sum + value * convolved[i], 0);
  };
  for (let seed = 1; seed < 6; seed++) {
    const x = signed(x_gradient.length, seed);
    const expected = x.reduce((sum, value, i) => sum + value * (added[i] - x_gradient[i]), 0);
    assert.ok(Math.abs(sumOf(x) - expected) < 1e-12, `${sumOf(x)}, expected ${expected}`);
  }
});

testKernel(
  causalConvolutionBackward,
  { tolerance: 5e-7 },
  ...[1, 2, 4, 9].map((taps) =>
    [
      `adds the gradient of windows of any length with ${taps} taps`,
      ...[1, 3, 40].map((tokens) => convolutionBackwardCase({ tokens, taps, head_dim: 33, batch: 3 })),
    ] as const
  ),
  [
    "adds more elements than one work item has",
    convolutionBackwardCase({ tokens: 300, head_dim: 64, heads: 2 }),
  ],
);
