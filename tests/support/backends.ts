/**
 * One test body, every backend. `eachBackend` declares a suite for each; where an adapter is missing the suite is skipped with its reason, or
 * fails under PARE_REQUIRE_WEBGPU=1.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { createWebGpuBackend, NoAdapterError } from "../../src/webgpu/backend.ts";

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

const webgpuMissing = await whyMissing();

/** Declares `body` once a backend: `backend()` gives it inside a test. The backend lives as long as the suite. */
export function eachBackend(name: string, body: (backend: () => Backend) => void): void {
  for (const kind of ["cpu", "webgpu"] as const) {
    describe(`${name} on ${kind}`, () => {
      if (kind === "webgpu" && webgpuMissing) {
        it(`is skipped: ${webgpuMissing}`, { skip: webgpuMissing }, () => {});
        return;
      }
      let backend: Backend;
      before(async () => {
        backend = await makers[kind]();
      });
      after(() => backend.dispose());
      body(() => backend);
    });
  }
}
