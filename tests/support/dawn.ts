/** Finds out whether the tests can use Dawn, the WebGPU implementation of the npm package `webgpu`. */

import { requestAdapter } from "../../src/device/webgpu/device.ts";
import { messageOf } from "../../src/base/errors.ts";
import { WEBGPU_REQUIRED } from "./backends.ts";

/** The reason why there is no adapter with Dawn. Undefined if there is one. With PARE_REQUIRE_WEBGPU=1, tests fail instead. */
export const dawnSkipReason: string | undefined = await whyMissing();

async function whyMissing(): Promise<string | undefined> {
  try {
    await requestAdapter(false, "dawn");
  } catch (error) {
    if (WEBGPU_REQUIRED) throw error;
    console.log(`tests with Dawn are skipped: ${messageOf(error)}`);
    return messageOf(error);
  }
}
