/** A result of the benches with round figures, for the tests of what is made of it. */

import type { LayerResult } from "../../scripts/bench/bench_layer.ts";

/** 1000 × 800 on a machine where reading takes 1 s, factoring 2 s, solving 4 s and answering 1 s. */
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
  reference: { seconds: 18, loss: 1, speedup: 3 },
};
