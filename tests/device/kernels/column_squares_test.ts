/** Tests column_squares for odd sizes and strides, and for columns of zeros. */

import { columnSquares, columnSquaresCase } from "../../../src/device/kernels/column_squares.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [7, 31], [33, 15], [64, 16], [129, 172], [4097, 2], [5000, 49], [0, 5]];
const withZeros = columnSquaresCase(100, 18);

testKernel(
  columnSquares,
  { tolerance: 1e-6 },
  ...SHAPES.map(([rows, cols]) =>
    [
      `adds the squares of ${rows} rows to the sums of ${cols} columns, and writes nothing else`,
      columnSquaresCase(rows, cols),
    ] as const
  ),
  ["gives exactly 0 for a column of zeros", {
    ...withZeros,
    buffers: () => ({
      x: withZeros.buffers().x.map((value, i) => (i - 3) % 23 % 13 === 4 ? 0 : value),
      sums: new Float32Array(23),
    }),
  }],
);
