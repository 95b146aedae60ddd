/**
 * Declares suites for features that only the WebGPU backend has. Without an adapter they are skipped with the reason, or fail if
 * PARE_REQUIRE_WEBGPU=1.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import { createWebGpuBackend, type WebGpuBackend, type WebGpuOptions } from "../../src/webgpu/backend.ts";
import { NoAdapterError, requestAdapter } from "../../src/webgpu/device.ts";
import { WEBGPU_REQUIRED } from "../support/backends.ts";

async function findSkipReason(): Promise<string | undefined> {
  try {
    await requestAdapter();
  } catch (error) {
    if (error instanceof NoAdapterError && !WEBGPU_REQUIRED) return error.message;
    throw error;
  }
}

const skipReason = await findSkipReason();

/** Declares a suite whose tests share one backend, which is disposed of after the last test. */
export function webgpuSuite(
  name: string,
  body: (backend: () => WebGpuBackend) => void,
  options: WebGpuOptions = {},
): void {
  describe(name, () => {
    if (skipReason) {
      it(`is skipped: ${skipReason}`, { skip: skipReason }, () => {});
      return;
    }
    let backend: WebGpuBackend;
    before(async () => {
      backend = await createWebGpuBackend(options);
    });
    after(() => backend.dispose());
    body(() => backend);
  });
}
