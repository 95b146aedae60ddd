/** Times every shader of the kernels that take most of a solve's time, on the WebGPU adapter of this machine. */

import { describeAdapter, requestAdapter } from "../../src/device/webgpu/device.ts";
import type { Bench } from "./bench.ts";
import { type KernelRate, measureKernels } from "./measure/kernel_rates.ts";
import { fastestVariants, saveTuning } from "./measure/save_tuning.ts";
import { markdownTable } from "./report/markdown_table.ts";

/**
 * The order n of the (n, n) matrices that are multiplied. It is large enough to keep the adapter busy, and
 * small enough that one product takes at most a second.
 */
const ORDER = { software: 512, hardware: 4096 };
const ROUNDS = 5;

interface GpuResults {
  /** The order n of the (n, n) matrices. */
  readonly order: number;
  readonly kernels: readonly KernelRate[];
}

export const bench: Bench<{ readonly save: boolean }, GpuResults> = {
  description: "the speed of the shaders on the WebGPU adapter",
  options: (command) =>
    command.option(
      "--save",
      "store the fastest shaders for this adapter in src/device/webgpu/tunings.json",
      false,
    ),
  async measure({ save: storesTuning }, { save }) {
    const { info } = await requestAdapter(), adapter = describeAdapter({ info });
    const order = adapter.software ? ORDER.software : ORDER.hardware;
    const kernels = await measureKernels({ order, rounds: ROUNDS });
    await save({ backend: "webgpu", adapter: adapter.name }, { order, kernels });
    if (storesTuning) await saveTuning(info, fastestVariants(kernels), new Date().toISOString());
    return { order, kernels };
  },
  tables: {
    kernels: ({ kernels }) =>
      markdownTable([
        ["kernel", (r) => r.kernel],
        ["variant", (r) => r.variant],
        ["ms", (r) => (1000 * r.seconds).toFixed(2)],
        ["GFLOP/s", (r) => r.gflops.toFixed(1)],
        ["GB/s", (r) => r.gigabytesPerSecond.toFixed(2)],
      ], kernels),
  },
};
