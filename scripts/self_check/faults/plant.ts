import { type Backend, DeviceLostError } from "../../../src/device/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { casesOf } from "../../../src/host/self_check/cases.ts";
import { hashBits } from "../../../src/host/self_check/fingerprint.ts";
import { selfCheck, SelfCheckError } from "../../../src/host/self_check/self_check.ts";
import { dispatchCase } from "../dispatch_case.ts";
import { withDispatch } from "./with_dispatch.ts";

/**
 * The result of a self-check of a device with a fault. `uncompiled` means that the compiler rejected the faulty shader,
 * and `ineffective` that the fault changes no result.
 */
export type Verdict = "refused" | "accepted" | "uncompiled" | "ineffective";

/**
 * Runs the cases of one kernel on a backend with a fault in this kernel, until a case refuses the fault. The cases of
 * other kernels are left out, because the fault cannot change them.
 */
export async function checkFaulty(backend: Backend, kernel: Kernel): Promise<Verdict> {
  try {
    for (const checkCase of casesOf(kernel)) await selfCheck(backend, [checkCase], []);
    return "accepted";
  } catch (error) {
    if (error instanceof DeviceLostError) return "refused";
    if (!(error instanceof SelfCheckError)) throw error;
    return /does not compile/.test(error.message) ? "uncompiled" : "refused";
  }
}

/** Whether a faulty kernel and the right one compute different bits on the cases of the self-check. */
export async function hasEffect(backend: Backend, kernel: Kernel, faulty: Kernel): Promise<boolean> {
  for (const { buffers, params } of kernel.cases()) {
    const right = await dispatchCase(backend, kernel, buffers(), params);
    const wrong = await dispatchCase(withKernel(backend, faulty), kernel, buffers(), params);
    if (Object.keys(right).some((name) => hashBits(right[name]) !== hashBits(wrong[name]))) return true;
  }
  return false;
}

/** Returns a backend that dispatches `faulty` in place of the kernel of the same name. */
export function withKernel(backend: Backend, faulty: Kernel): Backend {
  return withDispatch(backend, (kernel, buffers, params) => {
    backend.dispatch(kernel.name === faulty.name ? faulty : kernel, buffers, params);
  });
}
