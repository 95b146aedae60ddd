/** Tests of the gated delta rule: odd sizes of heads, shared keys, the longest dispatch, and gates at which exp overflows. */

import {
  gatedDelta,
  gatedDeltaCase,
  MAX_DELTA_TOKENS,
} from "../../../src/device/kernels/forward/gated_delta.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const extreme = gatedDeltaCase({ tokens: 30, key_dim: 8, value_dim: 5 });

testKernel(
  gatedDelta,
  { tolerance: 4e-6 },
  ...[1, 4, 31, 128, 256].map((key_dim) =>
    [
      `runs heads with keys of ${key_dim} dimensions`,
      ...[1, 8, 33].map((value_dim) => gatedDeltaCase({ tokens: 23, key_dim, value_dim, batch: 2 })),
    ] as const
  ),
  ...[[1, 1], [4, 2], [6, 2], [5, 1]].map(([heads, key_heads]) =>
    [
      `shares ${key_heads} keys among ${heads} heads`,
      gatedDeltaCase({ tokens: 17, heads, key_heads, key_dim: 6, value_dim: 9, batch: 3 }),
    ] as const
  ),
  [
    `runs ${MAX_DELTA_TOKENS} tokens, the most of one dispatch`,
    gatedDeltaCase({ tokens: MAX_DELTA_TOKENS, key_dim: 128, value_dim: 64 }),
  ],
  ["does not overflow for huge gates", {
    ...extreme,
    buffers: () => {
      const operands = extreme.buffers();
      const huge = (values: Float32Array) => Float32Array.from(values, (value) => 100 * value);
      return { ...operands, a: huge(operands.a), b: huge(operands.b) };
    },
  }],
  [
    "adds the epsilon to the lengths of short vectors, and of zeros",
    ...[1e-3, 0].map((factor) => ({
      ...extreme,
      buffers: () => {
        const operands = extreme.buffers();
        return { ...operands, qkv: operands.qkv.map((value) => factor * value) };
      },
    })),
  ],
);
