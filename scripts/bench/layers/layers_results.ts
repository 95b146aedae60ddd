/** The results of a run of the layer bench, as they are stored in `results/cpu.json` and `results/webgpu.json`. */

import type { TorchBuild } from "../torch/torch_builds.ts";
import type { LayerResult } from "./bench_layer.ts";
import type { LayerTrials } from "./layer_trials.ts";
import type { GemmRate } from "./gemm_rate.ts";

/** All layers that were timed in one run. */
export interface LayersResults {
  /**
   * The rate of the backend's own matrix product (GEMM). It is stored under the name `peak`, although it is
   * not the peak of the hardware. Absent if the bench only sent requests, because they do not measure this
   * rate.
   */
  readonly peak?: GemmRate;
  /** The rate of the product of the library that `--blas auto` finds. */
  readonly libraryPeak?: GemmRate;
  /** One entry for each size and each way to multiply matrices. */
  readonly layers: readonly LayerResult[];
  /** The builds of PyTorch that were tried. */
  readonly builds?: readonly TorchBuild[];
  /** The short runs that chose the build and the setting of PyTorch. */
  readonly trials?: readonly LayerTrials[];
}
