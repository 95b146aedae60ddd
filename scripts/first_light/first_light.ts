/**
 * The first minutes on an unknown GPU: checks every kernel, measures what limits a layer, and writes every
 * figure into one folder. A step that fails is recorded with its message, and the next step still runs.
 */

import { formatJson } from "../../src/base/files/whole_file.ts";
import { messageOf } from "../../src/base/errors.ts";
import { describeAdapter, requestAdapter } from "../../src/device/webgpu/device.ts";
import { measureKernels } from "./kernel_rates.ts";
import { fastestVariants } from "./save_tuning.ts";
import { describeMachine } from "../bench/report/results_file.ts";
import { checkKernels } from "./check_kernels.ts";
import { measureDawn } from "./measure_dawn.ts";
import { renderPage } from "./page.ts";
import { probeAdapter } from "./probe.ts";
import { rankLimits } from "./ranking.ts";
import { timeLayer } from "./time_layer.ts";
import { timeRequest } from "./time_request.ts";
import { timeTorch } from "./time_torch.ts";
import type { FirstLight, Sizes } from "./results.ts";
import { measureTransfers } from "./transfers.ts";

/** The sizes for a hardware GPU. The layer is one of OPT-175B. */
export const HARDWARE_SIZES: Sizes = {
  product: 4096,
  rounds: 5,
  transferBytes: 256 * 2 ** 20,
  layer: 12288,
  request: 4096,
};

/** The sizes for an adapter that emulates a GPU on the CPU. */
export const SOFTWARE_SIZES: Sizes = {
  product: 128,
  rounds: 1,
  transferBytes: 4 * 2 ** 20,
  layer: 384,
  request: 128,
};

/** A run takes at most about ten minutes, because no step begins after this time. */
const LAST_START_SECONDS = 420;

/**
 * Runs all steps and writes `first_light.json` and `index.html` into `folder` after each of them.
 * @param sizes the sizes for the kind of the adapter by default
 * @throws {NoAdapterError} if the machine has no WebGPU adapter
 */
export async function firstLight(folder: string, sizes?: Sizes): Promise<FirstLight> {
  const { name, software } = describeAdapter(await requestAdapter()), started = performance.now();
  const seconds: Record<string, number> = {}, failures: Record<string, string> = {};
  let result: FirstLight = {
    date: new Date().toISOString(),
    adapter: name,
    software,
    machine: await describeMachine(),
    sizes: sizes ?? (software ? SOFTWARE_SIZES : HARDWARE_SIZES),
    seconds,
    failures,
  };
  await Deno.mkdir(folder, { recursive: true });
  const step = async (title: keyof FirstLight, run: () => Promise<Partial<FirstLight>>) => {
    const begin = performance.now();
    console.log(`${title} …`);
    try {
      if (begin - started > 1000 * LAST_START_SECONDS) throw new Error("left out, because the time is up");
      result = { ...result, ...await run() };
    } catch (error) {
      failures[title] = messageOf(error);
      console.log(`${title}: ${failures[title]}`);
    }
    seconds[title] = (performance.now() - begin) / 1000;
    await Deno.writeTextFile(`${folder}/first_light.json`, formatJson(result));
    await Deno.writeTextFile(`${folder}/index.html`, renderPage(result));
  };
  const { product, rounds, transferBytes, layer, request } = result.sizes;
  await step("probe", async () => ({ probe: await probeAdapter(() => requestAdapter()) }));
  await step("checks", async () => ({ checks: await checkKernels() }));
  await step("transfers", async () => ({ transfers: await measureTransfers(transferBytes) }));
  await step("layer", async () => ({ layer: await timeLayer(layer) }));
  await step("kernels", async () => {
    const kernels = await measureKernels({ order: product, rounds });
    return { kernels, tuning: fastestVariants(kernels) };
  });
  await step("dawn", async () => ({ dawn: await measureDawn(product, rounds) }));
  await step("torch", async () => ({ torch: await timeTorch(product, layer) }));
  await step("request", async () => ({ request: await timeRequest(request) }));
  await step("limits", () => {
    if (!result.layer || !result.transfers) throw new Error("needs the steps layer and transfers");
    return Promise.resolve({ limits: rankLimits(result.layer, result.transfers) });
  });
  return result;
}
