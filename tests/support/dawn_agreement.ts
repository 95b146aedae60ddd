/**
 * Runs every case of the self-check, and with them every kernel, on Dawn and on Deno's own WebGPU, and compares
 * the results of the two. Results that are not rounded must have the same bits.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import { KERNELS } from "../../src/device/kernels/kernels.ts";
import { ALL_CASES } from "../../src/host/self_check/cases.ts";
import type { CheckCase } from "../../src/host/self_check/run_case.ts";
import { selfCheck } from "../../src/host/self_check/self_check.ts";
import type { Values } from "../../src/device/kernels/kernel_case.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../src/device/webgpu/backend.ts";
import type { Tiling } from "../../src/device/webgpu/tuning.ts";
import { WEBGPU_RUNTIMES } from "../../src/device/webgpu/runtimes/runtime.ts";
import { assertClose } from "./assert_close.ts";
import { assertSame } from "./assert_same.ts";
import { dawnSkipReason } from "./dawn.ts";
import { upload } from "./device.ts";

/** Runs a case and returns its outputs. Elements that the case does not specify are 0. */
async function outputsOf(backend: WebGpuBackend, { buffers, steps, outputs }: CheckCase) {
  const contents = buffers();
  const onDevice = Object.fromEntries(
    Object.entries(contents).map(([name, values]) => [name, upload(backend, values)]),
  );
  for (const { kernel, params, buffers: bound } of steps) {
    const operands = Object.entries(bound).map(([binding, name]) => [binding, onDevice[name]]);
    backend.dispatch(kernel, Object.fromEntries(operands), params);
  }
  const results = new Map<string, Values>();
  for (const [output, { binding, includes = () => true }] of Object.entries(outputs)) {
    const { buffer } = await backend.read(onDevice[binding], 0, contents[binding].byteLength);
    const values = contents[binding] instanceof Float32Array
      ? new Float32Array(buffer)
      : new Uint32Array(buffer);
    results.set(output, values.map((value, i) => includes(i) ? value : 0) as Values);
  }
  for (const buffer of Object.values(onDevice)) buffer.destroy();
  return results;
}

/** Declares the tests with the shaders for one kind of adapter. */
export function testAgreement(tiling: Tiling): void {
  describe(`Dawn and Deno's own WebGPU with the ${tiling} shaders`, { skip: dawnSkipReason }, () => {
    const backends: WebGpuBackend[] = [];
    before(async () => {
      for (const runtime of WEBGPU_RUNTIMES) {
        backends.push(await createWebGpuBackend({ runtime, tiling, warm: KERNELS }));
      }
    });
    after(() => Promise.all(backends.map((backend) => backend.dispose())));

    for (const checkCase of ALL_CASES) {
      it(`agree on ${checkCase.name}`, async () => {
        const [deno, dawn] = [
          await outputsOf(backends[0], checkCase),
          await outputsOf(backends[1], checkCase),
        ];
        for (const [output, { roundings }] of Object.entries(checkCase.outputs)) {
          const [expected, actual] = [deno.get(output)!, dawn.get(output)!];
          const label = `${checkCase.name}, ${output}`;
          if (roundings === undefined) {
            assertSame(new Uint32Array(actual.buffer), new Uint32Array(expected.buffer), label);
          } else {
            // Each of the two results has its own roundings.
            assertClose(
              new Float32Array(actual.buffer),
              new Float32Array(expected.buffer),
              2 * roundings * 2 ** -24,
              {
                label,
              },
            );
          }
        }
      });
    }

    it("both pass the self-check, which also solves layers", async () => {
      for (const backend of backends) await selfCheck(backend);
    });
  });
}
