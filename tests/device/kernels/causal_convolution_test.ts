/** Tests of the causal convolution: numbers of taps up to more than the tokens of a window, earlier tokens, and heads far apart. */

import {
  causalConvolution,
  convolutionCase,
} from "../../../src/device/kernels/forward/causal_convolution.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  causalConvolution,
  { tolerance: 5e-7 },
  ...[1, 2, 4, 9].map((taps) =>
    [
      `convolves windows of any length with ${taps} taps`,
      ...[1, 3, 40].map((tokens) => convolutionCase({ tokens, taps, head_dim: 33, batch: 3 })),
    ] as const
  ),
  [
    "reads the last tokens before those of the pass",
    ...[1, 2, 50].flatMap((past) =>
      [1, 5].map((tokens) => convolutionCase({ tokens, past, head_dim: 6, heads: 5, batch: 2 }))
    ),
  ],
  [
    "convolves more elements than one work item has",
    convolutionCase({ tokens: 300, head_dim: 64, heads: 2 }),
  ],
);
