/** Tests of kl_divergence for vocabularies of odd sizes, padded rows, equal rows, and logits at which exp overflows. */

import { klDivergence, klDivergenceCase } from "../../../src/device/kernels/forward/kl_divergence.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[7, 7], [33, 31], [5, 33], [129, 127], [3, 129], [172, 172], [31, 1000], [2, 50272]];

testKernel(
  klDivergence,
  { tolerance: 1e-6 },
  ...SHAPES.flatMap(([rows, cols]) =>
    [0, 5].map((padding) =>
      [
        `compares ${rows} rows of ${cols} logits, with ${padding} unused elements after each row`,
        klDivergenceCase(rows, cols, padding),
      ] as const
    )
  ),
  ["does not overflow, and ignores tokens that the reference excludes", {
    ...klDivergenceCase(3, 4, 0),
    buffers: () => ({
      reference: Float32Array.of(1000, 999, -1000, -1e30, 88, 89, 90, -5000, -5001, -5002, -5000, -5003),
      logits: Float32Array.of(999, 1000, 0, 0, 90, 89, 88, -1e30, 5001, 5002, 5000, 5003),
      divergence: new Float32Array(3),
    }),
  }],
  ["is 0 for the same logits, and for logits that differ by a constant", {
    ...klDivergenceCase(3, 5, 0),
    buffers: () => ({
      reference: Float32Array.of(1, -2, 3, 0.5, 8, 1, -2, 3, 0.5, 8, 1, -2, 3, 0.5, 8),
      logits: Float32Array.of(1, -2, 3, 0.5, 8, 5, 2, 7, 4.5, 12, 8, 1, -2, 3, 0.5),
      divergence: new Float32Array(3),
    }),
  }],
);
