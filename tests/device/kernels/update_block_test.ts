/** Tests of update_block: the updated weights, which are exact sums, and their keys and first digits. */

import { updateBlock, updateBlockCase } from "../../../src/device/kernels/selection/update_block.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const EDGES = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130];

testKernel(
  updateBlock,
  { tolerance: 0 },
  ...EDGES.map((edge) =>
    [
      `updates and scores a block of ${edge} columns and ${edge} rows`,
      ...[2, 3, 4].map((padding) => updateBlockCase(edge, edge, edge, padding, 0)),
    ] as const
  ),
  [
    "updates and scores a block that is far taller than wide, and one of 256 columns",
    updateBlockCase(700, 33, 33, 3, 0),
    updateBlockCase(70, 256, 256, 4, 0),
  ],
  ["gives forced entries the key 0", ...[0, 130].map((depth) => updateBlockCase(71, 130, depth, 2, 1))],
  [
    "copies and scores the weights if there are no earlier blocks",
    ...[1, 66, 128].map((cols) => updateBlockCase(67, cols, 0, 3, 0)),
  ],
);
