/**
 * Runs the GPU bench, `deno task bench --gpu`: times every shader of the kernels that take most of a solve's
 * time, on the WebGPU adapter. It also compares Pare's matrix product with well-known public designs.
 */

import { describeAdapter, requestAdapter } from "../../../src/webgpu/device.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { raceMatmuls } from "./matmul_race.ts";
import { measureKernels } from "./kernel_rates.ts";
import { fastestVariants, saveTuning } from "./save_tuning.ts";
import { type GpuResults, kernelTable, matmulTable } from "./tables.ts";

/**
 * The order n of the (n, n) matrices that are multiplied. It is large enough to keep the adapter busy, and
 * small enough that one product takes at most a second.
 */
const ORDER = { software: 512, hardware: 4096 };
const ROUNDS = 5;

/**
 * Prints both tables and writes `results/gemm_webgpu.json`. With `save`, the fastest variants are also stored for this
 * adapter in `src/webgpu/tunings.json`.
 */
export async function benchGpu({ save }: { readonly save: boolean }): Promise<void> {
  const { info } = await requestAdapter(), adapter = describeAdapter({ info });
  const order = adapter.software ? ORDER.software : ORDER.hardware;
  const date = new Date().toISOString();
  const kernels = await measureKernels({ order, rounds: ROUNDS });
  console.log(`${adapter.name}\n\n${kernelTable(kernels)}\n`);
  const matmuls = await raceMatmuls(order, ROUNDS);
  const results: GpuResults = { order, matmuls, kernels };
  console.log(matmulTable(results));
  const device = { backend: "webgpu", adapter: adapter.name };
  await writeResults(resultsUrl("gemm_webgpu", "json"), device, results, date);
  if (save) await saveTuning(info, fastestVariants(kernels), date);
}
