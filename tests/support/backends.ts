/**
 * One test body, every backend. `eachBackend` declares a suite for each; where an adapter is missing the suite is skipped with its reason, or
 * fails under PARE_REQUIRE_WEBGPU=1.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { createWebGpuBackend } from "../../src/webgpu/backend.ts";
import { NoAdapterError } from "../../src/webgpu/device.ts";

const makers: Record<Backend["kind"], () => Promise<Backend>> = {
  cpu: () => createCpuBackend(),
  webgpu: () => createWebGpuBackend(),
};

/** Whether a missing WebGPU adapter is a failure rather than a skip. */
export const WEBGPU_REQUIRED = Deno.env.get("PARE_REQUIRE_WEBGPU") === "1";

async function whyMissing(): Promise<string | undefined> {
  try {
    await (await makers.webgpu()).dispose();
  } catch (error) {
    if (error instanceof NoAdapterError && !WEBGPU_REQUIRED) return error.message;
    throw error;
  }
}

/** Why there is no WebGPU adapter; undefined where there is one. */
export const webgpuMissing = await whyMissing();

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

/** Declares `body` once a backend: `backend()` gives it inside a test. The backend lives as long as the suite. */
export function eachBackend(name: string, body: Body): void {
  suite(`${name} on cpu`, makers.cpu, undefined, body);
  suite(`${name} on webgpu`, makers.webgpu, webgpuMissing, body);
}

/** As {@link eachBackend}, for kernels with a shader a kind of adapter: on webgpu once a shader, whatever the adapter is. */
export function eachTiling(name: string, body: Body): void {
  suite(`${name} on cpu`, makers.cpu, undefined, body);
  for (const tiling of ["software", "discrete"] as const) {
    suite(`${name} on webgpu, ${tiling}`, () => createWebGpuBackend({ tiling }), webgpuMissing, body);
  }
}
