/** Tests of the kernels that run before and after quantize_block: extremes of rows, grids of extremes, and packed codes. */

import {
  encodeCodes,
  encodeCodesCase,
  fitGrids,
  rowExtremes,
  rowExtremesCase,
} from "../../../src/device/kernels/quantization.ts";
import { positives, signed } from "../../../src/device/kernels/kernel_case.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  rowExtremes,
  { tolerance: 0 },
  ...[[1, 1], [3, 63], [70, 64], [5, 131], [9, 1000]].map(([rows, cols]) => {
    const { params, buffers } = rowExtremesCase(rows, cols), { ld } = params;
    // Row 1 has only negative weights, and row 3 only positive ones. The padding is larger than all weights.
    const change = (weight: number, i: number) =>
      i % ld >= cols ? 1000 : Math.floor(i / ld) === 1 ? -Math.abs(weight) : weight;
    return [
      `finds the minimum and the maximum of 0, of earlier tiles and of each row of ${rows}×${cols} weights`,
      { params, buffers: () => ({ ...buffers(), w: buffers().w.map(change) }) },
    ] as const;
  }),
);

testKernel(
  fitGrids,
  { tolerance: 1e-6, scaleOf: (expected) => expected },
  ...[[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 2]].flatMap((
    [symmetric, searched, scale_dtype],
  ) =>
    [2, 3, 4, 8].map((bits) =>
      [
        `computes the ${
          symmetric ? "symmetric" : "asymmetric"
        } ${bits}-bit grids of given extremes (searched ${searched}, scales of dtype ${scale_dtype})`,
        {
          params: { count: 200, max_code: 2 ** bits - 1, symmetric, searched, scale_dtype },
          buffers: () => {
            const low = positives(200, bits).map((value, i) => i % 7 ? -value : 0);
            const high = signed(200, bits + 1).map((value, i) => i % 5 ? Math.abs(value) : 0);
            // The last scale would be too small for a normal f32, so the grid is the same as for weights that are all 0.
            low[199] = -1e-39;
            high[199] = 1e-39;
            return { scales: low, zeros: high };
          },
          roundings: { scales: 8 },
        },
      ] as const
    )
  ),
);

testKernel(
  encodeCodes,
  { tolerance: 0 },
  ...[[1, 1, 0], [3, 7, 0], [5, 33, 8], [20, 64, 32], [300, 251, 25]].map(([rows, cols, gridSize]) =>
    [
      `packs the codes of ${rows}×${cols} weights in grids of ${gridSize || "all"} columns`,
      ...[2, 4, 8].map((bits) => encodeCodesCase(rows * cols, cols, gridSize, bits)),
    ] as const
  ),
);
