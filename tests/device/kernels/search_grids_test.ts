/** Tests of the kernels that search the grids of whole rows, in comparison with float64 code. */

import {
  chooseGrids,
  chooseGridsCase,
  gridErrors,
  gridErrorsCase,
} from "../../../src/device/kernels/search_grids.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const OPTIONS = [[0, 0, 0], [0, 1, 2], [1, 0, 1], [1, 1, 0]] as const;

testKernel(
  gridErrors,
  { tolerance: 1e-5 },
  ...[[1, 1], [3, 5], [70, 64], [5, 131], [9, 1003]].map(([rows, cols]) =>
    [
      `adds up the errors of the candidates for ${rows}×${cols} weights`,
      ...OPTIONS.map((options) => gridErrorsCase(rows, cols, options)),
    ] as const
  ),
);

testKernel(
  chooseGrids,
  { tolerance: 1e-6, scaleOf: (expected) => expected },
  ...[1, 64, 300].map((count) =>
    [
      `chooses the candidate with the smallest error in ${count} rows, and of equal errors the first`,
      ...OPTIONS.map((options) => chooseGridsCase(count, options)),
    ] as const
  ),
);
