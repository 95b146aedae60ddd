/**
 * Runs the same tests on every backend (`cpu` and `webgpu`). If the machine has no WebGPU adapter, the tests on `webgpu`
 * are skipped and the reason is shown. With the environment variable PARE_REQUIRE_WEBGPU=1, they fail instead. With
 * PARE_TEST_ONLY_CPU=1, which the suite `paired` sets, there are no tests on `webgpu`.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { createWebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { NoAdapterError, requestAdapter } from "../../src/device/webgpu/device.ts";
import type { WebGpuRuntime } from "../../src/device/webgpu/runtimes/runtime.ts";

/** The implementation of WebGPU, if the suites run on WebGPU only. */
let onlyRuntime: WebGpuRuntime | undefined;

/** Makes the suites that are declared from now on run on WebGPU only, with this implementation of it. */
export function testOnlyWebGpu(runtime: WebGpuRuntime): void {
  onlyRuntime = runtime;
}

const makers: Record<Backend["kind"], () => Promise<Backend>> = {
  cpu: () => createCpuBackend(),
  webgpu: () => createWebGpuBackend({ runtime: onlyRuntime }),
};

/** Whether the tests fail without a WebGPU adapter, instead of skipping. */
export const WEBGPU_REQUIRED = Deno.env.get("PARE_REQUIRE_WEBGPU") === "1";

const ONLY_CPU = Deno.env.get("PARE_TEST_ONLY_CPU") === "1";

async function whyMissing(): Promise<string | undefined> {
  if (ONLY_CPU) return "the suite tests the cpu backend only";
  try {
    await requestAdapter();
  } catch (error) {
    if (error instanceof NoAdapterError && !WEBGPU_REQUIRED) return error.message;
    throw error;
  }
}

/** The reason why there is no WebGPU adapter. Undefined if there is one. */
export const webgpuSkipReason = await whyMissing();

/** A function that declares the tests of a suite. Inside a test, `backend()` returns the backend of the suite. */
type Body = (backend: () => Backend) => void;

function suite(name: string, make: () => Promise<Backend>, missing: string | undefined, body: Body): void {
  describe(name, () => {
    if (missing) {
      it(`is skipped: ${missing}`, { skip: missing }, () => {});
      return;
    }
    let backend: Backend;
    before(async () => {
      backend = await make();
    });
    after(() => backend.dispose());
    body(() => backend);
  });
}

/** Declares one suite per backend with the tests of `body`. The backend is created before the suite and disposed after it. */
export function eachBackend(name: string, body: Body): void {
  if (!onlyRuntime) onCpu(`${name} on cpu`, body);
  onWebGpu(`${name} on webgpu`, body);
}

/** Like {@link eachBackend}, with the commands of `cpu` on the calling thread, on one worker thread and on three. */
export function eachExecutor(name: string, body: Body): void {
  for (const threads of [0, 1, 3]) {
    suite(`${name} on cpu with threads: ${threads}`, () => createCpuBackend({ threads }), undefined, body);
  }
  onWebGpu(`${name} on webgpu`, body);
}

/** Declares a suite whose tests run on the CPU only. */
export function onCpu(name: string, body: Body): void {
  suite(name, makers.cpu, undefined, body);
}

/** Declares a suite whose tests run on WebGPU only. */
export function onWebGpu(name: string, body: Body): void {
  if (!ONLY_CPU) suite(name, makers.webgpu, webgpuSkipReason, body);
}

/**
 * Like {@link eachBackend}, for kernels that have one shader for discrete GPUs and another for software
 * adapters, which emulate a GPU on the CPU. Both shaders are tested, whatever the adapter of the machine is. On Dawn only the shaders
 * for the adapter are, because an emulated GPU takes ten minutes to compile what Dawn makes of the others.
 */
export function eachTiling(name: string, body: Body): void {
  if (onlyRuntime) return eachBackend(name, body);
  onCpu(`${name} on cpu`, body);
  for (const tiling of ONLY_CPU ? [] : ["software", "discrete"] as const) {
    const make = () => createWebGpuBackend({ tiling });
    suite(`${name} on webgpu, ${tiling}`, make, webgpuSkipReason, body);
  }
}
