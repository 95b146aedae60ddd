/**
 * Runs the tests of all kernels, which compare with float64 code, on Dawn in place of Deno's own WebGPU. An emulated GPU takes minutes to
 * compile the shaders of some of them, so the suite `slow` only compares the results of Dawn with those of Deno's own WebGPU.
 */

import { dawnSkipReason } from "../../support/dawn.ts";
import { testOnlyWebGpu } from "../../support/backends.ts";

if (dawnSkipReason === undefined) {
  testOnlyWebGpu("dawn");
  const names = [...Deno.readDirSync(new URL(".", import.meta.url))].map(({ name }) => name).sort();
  for (const name of names) {
    if (!name.endsWith("_test.ts") || name === "on_dawn_nightly_test.ts") continue;
    await import(new URL(name, import.meta.url).href);
  }
}
