/** Tests of masked_combine and scale_tile for odd sizes, and for tiles that share mask words with their neighbours. */

import {
  maskedCombine,
  maskedCombineCase,
  scaleTile,
  scaleTileCase,
} from "../../../src/device/kernels/combine.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const TILES = [[1, 1, 0, 0], [7, 31, 2, 5], [33, 127, 0, 30], [5, 172, 3, 64], [2, 4097, 1, 29], [
  5000,
  2,
  0,
  63,
]] as const;

testKernel(
  maskedCombine,
  { tolerance: 1e-6 },
  ...TILES.map((tile) =>
    [
      `uses different factors for kept and pruned entries of the tile ${tile.join(", ")}`,
      maskedCombineCase(tile),
    ] as const
  ),
);

testKernel(
  scaleTile,
  { tolerance: 1e-6 },
  ["multiplies each element by the factor of its column", ...TILES.map((tile) => scaleTileCase(tile, 0))],
  [
    "multiplies each element by the factors of its column and its row",
    ...TILES.map((tile) => scaleTileCase(tile, 1)),
  ],
);
