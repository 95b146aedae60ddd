/** Tests that copy2d and copy_transposed copy submatrices of odd sizes at odd offsets bit for bit, and write nothing else. */

import { copy2d, copyCase, copyTransposed } from "../../../src/device/kernels/transfer/copy2d.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [[1, 1], [7, 31], [33, 127], [129, 172], [1000, 3], [1, 1000], [31, 1], [260, 1031]];

testKernel(
  copy2d,
  { tolerance: 0 },
  ...SIZES.map(([rows, cols]) => [`copies ${rows}×${cols} elements`, copyCase(rows, cols)] as const),
  ["copies signalling NaNs, subnormals and signed zeros bit for bit", {
    params: { rows: 2, cols: 3, source_offset: 0, source_ld: 3, target_offset: 0, target_ld: 3 },
    buffers: () => ({
      source: Uint32Array.of(0x7f800001, 0xffbfffff, 1, 0x807fffff, 0x80000000, 0x7f800000),
      target: new Uint32Array(6),
    }),
  }],
);

testKernel(
  copyTransposed,
  { tolerance: 0 },
  ...SIZES.map(([rows, cols]) =>
    [`transposes ${rows}×${cols} elements`, copyCase(rows, cols, true)] as const
  ),
);
