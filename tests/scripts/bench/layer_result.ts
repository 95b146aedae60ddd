/** A result of the layer bench with round figures, for the tests of tables, charts and projections. */

import type { LayerResult } from "../../../scripts/bench/layers/bench_layer.ts";

/** A layer of 1000 × 800 that takes 1 s to read, 2 s to factor, 4 s to solve and 1 s to answer. */
export const LAYER: LayerResult = {
  rows: 1000,
  cols: 800,
  runs: 3,
  solve: { read: 1, factor: 2, solve: 4, refit: 0, total: 7 },
  solveSeconds: 6,
  wallSeconds: 8,
  withError: { solveSeconds: 9, wallSeconds: 11 },
  gflops: 30,
  peakMemoryBytes: 100 * 2 ** 20,
  loss: 1,
  relativeError: 0.1,
  shares: { select: 0.125, columnLoop: 0.25, lazyUpdate: 0.5, other: 0.125 },
  reference: { seconds: 18, loss: 1, setting: "torch 2.6.0, OpenBLAS, OMP 2", speedup: 3 },
};
