/** Tests of gather_rows and add_rows, with indices in any order and without indices. */

import {
  addRows,
  addRowsCase,
  gatherRows,
  gatherRowsCase,
} from "../../../src/device/kernels/forward/rows.ts";
import { testKernel } from "../../support/kernel_cases.ts";

/** The numbers of rows and columns of the smaller matrix, and the number of rows of the larger one. */
const SIZES = [[1, 1, 1], [5, 7, 9], [64, 129, 200], [3, 40_001, 4], [700, 3, 1000]];

testKernel(
  gatherRows,
  { tolerance: 0 },
  ...SIZES.map(([rows, cols, all]) =>
    [
      `copies ${rows} of ${all} rows of ${cols} elements bit for bit`,
      gatherRowsCase(rows, cols, all),
    ] as const
  ),
);

testKernel(
  addRows,
  { tolerance: 2e-7 },
  ...SIZES.flatMap(([rows, cols, all]) =>
    ["rows in order", "rows with an index and a factor each"].map((what, has_index) =>
      [
        `adds ${rows} ${what} to ${all + 3} rows of ${cols} elements, and changes no other row`,
        addRowsCase(rows, cols, all + 3, has_index),
      ] as const
    )
  ),
);
