/** Suites for what only the WebGPU backend has. Skipped with the reason where there is no adapter; a failure under PARE_REQUIRE_WEBGPU=1. */

import { after, before, describe, it } from "@std/testing/bdd";
import { createWebGpuBackend, type WebGpuBackend, type WebGpuOptions } from "../../src/webgpu/backend.ts";
import { NoAdapterError, requestAdapter } from "../../src/webgpu/device.ts";
import { WEBGPU_REQUIRED } from "../support/backends.ts";

async function whyMissing(): Promise<string | undefined> {
  try {
    await requestAdapter();
  } catch (error) {
    if (error instanceof NoAdapterError && !WEBGPU_REQUIRED) return error.message;
    throw error;
  }
}

const missing = await whyMissing();

/** Declares `body` over one backend that lives as long as the suite. */
export function webgpuSuite(
  name: string,
  body: (backend: () => WebGpuBackend) => void,
  options: WebGpuOptions = {},
): void {
  describe(name, () => {
    if (missing) {
      it(`is skipped: ${missing}`, { skip: missing }, () => {});
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
