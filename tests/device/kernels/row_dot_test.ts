/** Tests of row_dot for odd sizes and strides, and for more rows than a grid can have workgroups along one axis. */

import { rowDot, rowDotCase } from "../../../src/device/kernels/row_dot.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [7, 31], [33, 15], [129, 172], [2, 4097], [65_537, 3]];
const square = rowDotCase(9, 1000);

testKernel(
  rowDot,
  { tolerance: 1e-6 },
  ...SHAPES.map(([rows, cols]) =>
    [`adds the dot products of ${rows} rows of ${cols} elements to the sums`, rowDotCase(rows, cols)] as const
  ),
  ["computes squared norms if both operands are the same buffer", {
    ...square,
    params: { ...square.params, y_offset: 3, ldy: square.params.ldx, scale: 1 },
    buffers: () => {
      const x = signed(3 + 9 * square.params.ldx, 2);
      return { x, y: x, sums: new Float32Array(9 * 3 + 7) };
    },
  }],
);
