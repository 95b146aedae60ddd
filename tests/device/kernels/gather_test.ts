/** Tests of the kernels that permute columns, bit for bit. The operands are parts of larger matrices. */

import {
  gatherBits,
  gatherBitsCase,
  gatherColumns,
  gatherColumnsCase,
  gatherSymmetric,
  gatherSymmetricCase,
} from "../../../src/device/kernels/transfer/gather.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  gatherColumns,
  { tolerance: 0 },
  ...[[1, 1, 1], [3, 7, 5], [33, 31, 64], [40, 300, 200]].map(([rows, cols, sourceCols]) =>
    [
      `copies those of ${rows}×${cols} elements whose source is in a tile of ${sourceCols} columns`,
      gatherColumnsCase(rows, cols, 3, 2, sourceCols),
    ] as const
  ),
);

/** The target tile and the source tile: row and column of the first element, and the number of rows and columns. */
const TILES = [
  [[0, 0, 1, 1], [0, 0, 1, 1]],
  [[0, 32, 32, 9], [0, 0, 32, 32]],
  [[32, 32, 9, 9], [0, 32, 32, 9]],
  [[0, 0, 32, 32], [0, 32, 32, 9]],
  [[5, 20, 300, 200], [5, 20, 300, 200]],
] as const;

testKernel(
  gatherSymmetric,
  { tolerance: 0 },
  ...TILES.map(([to, from]) =>
    [
      `copies the elements of target tile ${to.join(", ")} whose source is in tile ${from.join(", ")}`,
      gatherSymmetricCase(to, from),
    ] as const
  ),
);

testKernel(
  gatherBits,
  { tolerance: 0 },
  ...[[1, 1], [3, 31], [5, 32], [70, 33], [9, 300]].map(([rows, cols]) =>
    [
      `permutes the bits of ${rows} rows of ${cols} bits, and clears the padding`,
      gatherBitsCase(rows, cols),
    ] as const
  ),
);
