/** Tests of cross_entropy for vocabularies of odd sizes, padded rows, and logits at which exp overflows. */

import { crossEntropy, crossEntropyCase } from "../../../src/device/kernels/forward/cross_entropy.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [7, 7], [33, 31], [5, 33], [129, 127], [3, 129], [172, 172], [31, 1000], [2, 50272]];
const large = crossEntropyCase(3, 4, 0);

testKernel(
  crossEntropy,
  { tolerance: 1e-6 },
  ...SHAPES.flatMap(([rows, cols]) =>
    [0, 5].map((padding) =>
      [
        `computes the losses of ${rows} rows of ${cols} logits, with ${padding} unused elements after each row`,
        crossEntropyCase(rows, cols, padding),
      ] as const
    )
  ),
  ["does not overflow for large logits, and is exact for a target that is almost certain", {
    ...large,
    buffers: () => ({
      logits: Float32Array.of(1000, 999, -1000, 0, -1e30, 88, 89, 90, -5000, -5001, -5002, -5000),
      targets: Uint32Array.of(0, 3, 2),
      loss: new Float32Array(3),
    }),
  }],
);
