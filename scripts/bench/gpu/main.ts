/** `deno task bench --gpu`: what every shader of the heavy kernels reaches on the WebGPU adapter, and `gemm` beside the public designs. */

import { describeAdapter, requestAdapter } from "../../../src/webgpu/device.ts";
import { machine } from "../machine.ts";
import { type GemmFile, writeResults } from "../results_file.ts";
import { raceGemm } from "./gemm_race.ts";
import { measureKernels } from "./kernel_rates.ts";
import { fastest, saveTuning } from "./save_tuning.ts";
import { gemmTable, kernelTable } from "./table.ts";

/** Order of the square products: enough to fill the adapter, and no more than a second of it each. */
const ORDER = { software: 512, hardware: 4096 };
const ROUNDS = 5;

/** Prints both tables and writes `results/gemm_webgpu.json`; with `save` also the adapter's entry of `src/webgpu/tunings.json`. */
export async function benchGpu({ save }: { readonly save: boolean }): Promise<void> {
  const { info } = await requestAdapter(), adapter = describeAdapter({ info });
  const order = adapter.software ? ORDER.software : ORDER.hardware;
  const date = new Date().toISOString();
  const kernels = await measureKernels(order, ROUNDS);
  console.log(`${adapter.name}\n\n${kernelTable(kernels)}\n`);
  const matmuls = await raceGemm(order, ROUNDS);
  console.log(gemmTable(order, matmuls));
  const measured = { date, machine: await machine(), backend: "webgpu", adapter: adapter.name };
  await writeResults<GemmFile>("gemm_webgpu", { ...measured, order, matmuls, kernels });
  if (save) await saveTuning(info, fastest(kernels), date);
}
