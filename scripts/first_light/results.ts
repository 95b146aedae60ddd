/** The types of the figures of a run. */

import type { KernelRate } from "./kernel_rates.ts";
import type { Machine } from "../bench/report/results_file.ts";
import type { CheckResult } from "./check_kernels.ts";
import type { LeftOut } from "./left_out.ts";
import type { DawnRates } from "./measure_dawn.ts";
import type { Probe } from "./probe.ts";
import type { Limit } from "./ranking.ts";
import type { LayerTimes } from "./time_layer.ts";
import type { RequestTimes } from "./time_request.ts";
import type { TorchTimes } from "./time_torch.ts";
import type { Transfers } from "./transfers.ts";

export interface Sizes {
  /** The order of the matrices with which each shader of each heavy kernel is timed. */
  readonly product: number;
  readonly rounds: number;
  readonly transferBytes: number;
  readonly layer: number;
  readonly request: number;
}

/** All figures of a run. A step that failed or was left out has no figures. */
export interface FirstLight {
  readonly date: string;
  readonly adapter: string;
  readonly software: boolean;
  readonly machine: Machine;
  readonly sizes: Sizes;
  readonly probe?: Probe;
  readonly checks?: readonly CheckResult[];
  readonly kernels?: readonly KernelRate[];
  /** The matrix products with Dawn instead of Deno's own WebGPU. */
  readonly dawn?: DawnRates | LeftOut;
  /** The same work by PyTorch on the same GPU. */
  readonly torch?: TorchTimes | LeftOut;
  readonly transfers?: Transfers;
  readonly layer?: LayerTimes;
  readonly request?: RequestTimes;
  readonly limits?: readonly Limit[];
  /** The fastest shader of each kernel that was timed, as in `src/device/webgpu/tunings.json`. */
  readonly tuning?: Readonly<Record<string, string>>;
  readonly seconds: Readonly<Record<string, number>>;
  /** The messages of the steps that failed or were left out. */
  readonly failures: Readonly<Record<string, string>>;
}
