/**
 * Tests that unpack_upper copies strips (some rows) of a packed upper triangle into tiles (parts of the full
 * matrix). The tiles lie to the left of the diagonal, on it and to the right of it.
 */

import { unpackUpper, unpackUpperCase } from "../../../src/device/kernels/transfer/unpack_upper.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [
  { n: 1, rows: 1, cols: 1, first_row: 0, first_col: 0 },
  { n: 7, rows: 7, cols: 7, first_row: 0, first_col: 0 },
  { n: 33, rows: 5, cols: 31, first_row: 3, first_col: 0 },
  { n: 129, rows: 31, cols: 33, first_row: 64, first_col: 64 },
  { n: 172, rows: 7, cols: 127, first_row: 0, first_col: 45 },
  { n: 172, rows: 40, cols: 20, first_row: 100, first_col: 110 },
  { n: 172, rows: 3, cols: 20, first_row: 100, first_col: 10 },
  { n: 1000, rows: 1000, cols: 172, first_row: 0, first_col: 828 },
];

testKernel(
  unpackUpper,
  { tolerance: 0 },
  ...SHAPES.map((shape) =>
    [
      `unpacks ${shape.rows} rows from row ${shape.first_row} and ${shape.cols} columns from column ${shape.first_col} of a matrix of order ${shape.n}`,
      unpackUpperCase(shape, 3, 5),
    ] as const
  ),
);
