/** Tests that mirror_upper copies elements bit for bit, and writes nothing else. */

import { mirrorUpper, mirrorUpperCase } from "../../../src/device/kernels/mirror_upper.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(mirrorUpper, { tolerance: 0 }, [
  "fills the lower triangles of matrices",
  ...[1, 3, 4, 7, 15, 16, 17, 31, 33, 64, 127, 129, 172, 515].map(mirrorUpperCase),
]);
