/** Plants faults in a backend, one after the other, and asks the self-check for its verdict on each. */

import { type Backend, DeviceLostError } from "../../../src/backend/backend.ts";
import type { Kernel } from "../../../src/kernels/kernel.ts";
import { KERNEL_CASES } from "../../../src/self_check/cases/all_cases.ts";
import type { KernelCase } from "../../../src/self_check/kernel_case.ts";
import { selfCheck, SelfCheckError } from "../../../src/self_check/self_check.ts";
import { withDispatch } from "./with_dispatch.ts";

/**
 * How the self-check judged a device with a fault. `uncompiled` means that the compiler rejected the faulty shader, and
 * `ineffective` that the fault changes no result.
 */
export type Verdict = "refused" | "accepted" | "uncompiled" | "ineffective";

/**
 * Runs the cases of one kernel on a backend with a fault in this kernel. The cases of other kernels are left out, because
 * the fault cannot change them.
 */
export async function judge(backend: Backend, { name }: Kernel): Promise<Verdict> {
  try {
    await selfCheck(backend, KERNEL_CASES.filter(({ kernel }) => kernel.name === name), []);
    return "accepted";
  } catch (error) {
    if (error instanceof DeviceLostError) return "refused";
    if (!(error instanceof SelfCheckError)) throw error;
    return /does not compile/.test(error.message) ? "uncompiled" : "refused";
  }
}

/** Whether a faulty kernel computes any other bits than the right one on the cases of the self-check. */
export async function hasEffect(backend: Backend, kernel: Kernel, faulty: Kernel): Promise<boolean> {
  for (const kernelCase of KERNEL_CASES.filter(({ kernel: { name } }) => name === kernel.name)) {
    const [right, wrong] = [
      await outputBits(backend, kernelCase),
      await outputBits(withKernel(backend, faulty), kernelCase),
    ];
    if (right.some((word, i) => word !== wrong[i])) return true;
  }
  return false;
}

async function outputBits(backend: Backend, { kernel, params, buffers }: KernelCase): Promise<Uint32Array> {
  const onDevice = Object.fromEntries(
    Object.entries(buffers()).map(([name, values]) => {
      const buffer = backend.createBuffer(name, values.byteLength);
      backend.write(buffer, 0, new Uint8Array(values.buffer));
      return [name, buffer];
    }),
  );
  backend.dispatch(kernel, onDevice, params);
  const written = Object.keys(kernel.bindings).filter((name) => kernel.bindings[name] === "read_write");
  const words: number[] = [];
  for (const name of written) {
    const bytes = await backend.read(onDevice[name], 0, onDevice[name].byteLength);
    for (const word of new Uint32Array(bytes.buffer)) words.push(word);
  }
  for (const buffer of Object.values(onDevice)) buffer.destroy();
  return Uint32Array.from(words);
}

/** Returns `backend`, which dispatches `faulty` in place of the kernel of the same name. */
export function withKernel(backend: Backend, faulty: Kernel): Backend {
  return withDispatch(backend, (kernel, buffers, params) => {
    backend.dispatch(kernel.name === faulty.name ? faulty : kernel, buffers, params);
  });
}
