/**
 * Checks the devices of this machine, and prints how long a check takes. The first check of a device includes the time
 * in which JavaScript compiles the code of the check:
 *
 *     deno task self-check
 */

import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { KERNELS } from "../../src/device/kernels/kernels.ts";
import { selfCheck } from "../../src/host/self_check/self_check.ts";
import { messageOf } from "../../src/base/errors.ts";
import { createWebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { NoAdapterError } from "../../src/device/webgpu/device.ts";

const OPENERS: Readonly<Record<string, () => Promise<Backend>>> = {
  cpu: () => createCpuBackend(),
  webgpu: () => createWebGpuBackend({ warm: KERNELS }),
};

/** Runs `work` and returns its result and the seconds that it took. */
async function timed<T>(work: () => Promise<T>): Promise<[result: T, seconds: string]> {
  const start = performance.now(), result = await work();
  return [result, ((performance.now() - start) / 1000).toFixed(2)];
}

for (const [kind, open] of Object.entries(OPENERS)) {
  try {
    const [backend, opened] = await timed(open);
    const [, first] = await timed(() => selfCheck(backend)),
      [, second] = await timed(() => selfCheck(backend));
    console.log(
      `${kind}: ${backend.adapter.name} passed. Opening took ${opened} s, the first check ${first} s, another ${second} s`,
    );
    await backend.dispose();
  } catch (error) {
    if (!(error instanceof NoAdapterError)) Deno.exitCode = 1;
    console.log(`${kind}: ${messageOf(error)}`);
  }
}
