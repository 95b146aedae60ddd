/** Tests that rotary rotates some dimensions of each head, with an angle per token of a window, and changes no other element. */

import { rotary, rotaryCase } from "../../../src/device/kernels/forward/rotary.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  rotary,
  { tolerance: 2e-7 },
  ...[
    { rows: 1, tokens: 1, heads: 1, head_stride: 2, pairs: 1, offset: 0, ld: 2, interleaved: 0 },
    { rows: 6, tokens: 3, heads: 2, head_stride: 8, pairs: 4, offset: 0, ld: 16, interleaved: 0 },
    { rows: 10, tokens: 5, heads: 3, head_stride: 11, pairs: 3, offset: 4, ld: 40, interleaved: 1 },
    { rows: 66, tokens: 33, heads: 5, head_stride: 14, pairs: 7, offset: 1, ld: 75, interleaved: 1 },
    { rows: 130, tokens: 130, heads: 4, head_stride: 128, pairs: 64, offset: 512, ld: 1024, interleaved: 0 },
  ].map((params) =>
    [
      `rotates ${params.pairs} ${
        params.interleaved ? "interleaved " : ""
      }pairs in each of ${params.heads} heads that are ${params.head_stride} elements apart, for ${params.rows} rows with ${params.tokens} tokens per window`,
      rotaryCase(params),
    ] as const
  ),
);
