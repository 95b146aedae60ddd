/** Tests that get_diagonal, set_diagonal and mirror_upper copy elements bit for bit, and write nothing else. */

import {
  getDiagonal,
  getDiagonalCase,
  mirrorUpper,
  mirrorUpperCase,
  setDiagonal,
  setDiagonalCase,
} from "../../../src/device/kernels/diagonal.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [1, 3, 4, 7, 15, 16, 17, 31, 33, 64, 127, 129, 172, 515];

testKernel(getDiagonal, { tolerance: 0 }, [
  "reads the diagonal of submatrices",
  ...SIZES.map(getDiagonalCase),
]);
testKernel(setDiagonal, { tolerance: 0 }, ["overwrites diagonals", ...SIZES.map(setDiagonalCase)]);
testKernel(mirrorUpper, { tolerance: 0 }, [
  "fills the lower triangles of matrices",
  ...SIZES.map(mirrorUpperCase),
]);
