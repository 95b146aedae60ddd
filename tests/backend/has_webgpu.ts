/** Whether WebGPU can be tested here. Under PARE_REQUIRE_WEBGPU=1 the tests run in any case, and fail where it cannot. */

import { NoAdapterError, requestAdapter } from "../../src/webgpu/device.ts";
import { WEBGPU_REQUIRED } from "../support/backends.ts";

export async function hasWebGpu(): Promise<boolean> {
  try {
    await requestAdapter();
    return true;
  } catch (error) {
    if (error instanceof NoAdapterError) return WEBGPU_REQUIRED;
    throw error;
  }
}
