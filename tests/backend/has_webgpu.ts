/** Detects whether WebGPU can be tested on this machine. With PARE_REQUIRE_WEBGPU=1 a missing adapter fails the tests instead. */

import { NoAdapterError, requestAdapter } from "../../src/webgpu/device.ts";
import { WEBGPU_REQUIRED } from "../support/backends.ts";

/** Returns true if there is a WebGPU adapter, or if PARE_REQUIRE_WEBGPU=1 requires one. */
export async function hasWebGpu(): Promise<boolean> {
  try {
    await requestAdapter();
    return true;
  } catch (error) {
    if (error instanceof NoAdapterError) return WEBGPU_REQUIRED;
    throw error;
  }
}
