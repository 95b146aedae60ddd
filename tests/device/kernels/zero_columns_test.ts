/** Tests that zero_columns sets dead columns to 0, even if they contain infinity, and writes nothing else. */

import { zeroColumns, zeroColumnsCase } from "../../../src/device/kernels/zero_columns.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [7, 31], [33, 127], [129, 172], [2, 4097], [5000, 2]];
/** For each test, a function that returns whether a column of the matrix is dead. */
const DEAD: Readonly<Record<string, (column: number) => boolean>> = {
  "no column is dead": () => false,
  "every column is dead": () => true,
  "some columns are dead": (column) => column % 3 === 1,
};

testKernel(
  zeroColumns,
  { tolerance: 0 },
  ...Object.entries(DEAD).map(([name, isDead]) =>
    [
      `zeroes exactly the dead columns if ${name}`,
      ...SHAPES.map(([rows, cols]) => {
        const { params, buffers } = zeroColumnsCase(rows, cols, 5, isDead);
        return { params, buffers: () => ({ ...buffers(), w: buffers().w.fill(Infinity, 0, 1) }) };
      }),
    ] as const
  ),
);
