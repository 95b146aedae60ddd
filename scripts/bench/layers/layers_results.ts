/** The results of a run of the layer bench, as they are stored in `results/cpu.json` and `results/webgpu.json`. */

import type { LayerResult } from "./bench_layer.ts";
import type { GemmRate } from "./gemm_rate.ts";

/** All layers that were timed in one run. */
export interface LayersResults {
  /**
   * The rate of the backend's own matrix product (GEMM). It is stored under the name `peak`, although it is
   * not the peak of the hardware. Absent if the bench only sent requests, because they do not measure this
   * rate.
   */
  readonly peak?: GemmRate;
  readonly layers: readonly LayerResult[];
}
