/** Tests of the two updates of a conjugate-gradient step on tiles in the middle of a matrix. In some rows the denominator is not positive. */

import {
  cgDirection,
  cgDirectionCase,
  cgStep,
  cgStepCase,
} from "../../../src/device/kernels/conjugate_gradient.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const TILES = [[1, 1, 0, 0], [7, 31, 2, 5], [33, 127, 0, 30], [2, 4097, 1, 29], [5000, 2, 0, 63]] as const;

testKernel(
  cgStep,
  { tolerance: 1e-6 },
  ...TILES.map((tile) =>
    [
      `updates the iterate, and the residual at kept entries, in the tile ${tile.join(", ")}`,
      cgStepCase(tile),
    ] as const
  ),
);

testKernel(cgDirection, { tolerance: 1e-6 }, [
  "adds the old direction, scaled by the ratio of two sums of its row, to the residual",
  ...TILES.map(cgDirectionCase),
]);
