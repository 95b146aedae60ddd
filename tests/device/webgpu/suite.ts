/**
 * Test suites for features that only the WebGPU backend has. Without an adapter the suites are skipped and
 * give the reason. With the environment variable PARE_REQUIRE_WEBGPU=1, they fail instead.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import type { WebGpuOptions } from "../../../src/device/webgpu/webgpu_options.ts";
import { webgpuSkipReason } from "../../support/backends.ts";

/** Declares a suite with the tests of `body`, which share one backend. */
export function webgpuSuite(
  name: string,
  body: (backend: () => WebGpuBackend) => void,
  options: WebGpuOptions = {},
): void {
  describe(name, () => {
    if (webgpuSkipReason) {
      it(`is skipped: ${webgpuSkipReason}`, { skip: webgpuSkipReason }, () => {});
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
