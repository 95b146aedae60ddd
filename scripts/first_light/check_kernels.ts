/**
 * Checks every kernel of the adapter by the self-check of a host, and every shader of the matrix product. A
 * host checks only the shaders that its adapter uses for small products.
 */

import { gemmNN, gemmNT, gemmTN } from "../../src/device/kernels/gemm.ts";
import { KERNELS } from "../../src/device/kernels/kernels.ts";
import { ALL_CASES } from "../../src/host/self_check/cases.ts";
import { selfCheck } from "../../src/host/self_check/self_check.ts";
import { messageOf } from "../../src/base/errors.ts";
import { createWebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { shadersOf, type Tuning } from "../../src/device/webgpu/tuning.ts";

export interface CheckResult {
  readonly what: string;
  readonly passed: boolean;
  readonly message?: string;
  readonly seconds: number;
}

/** Runs all checks. A failure is part of the results. */
export async function checkKernels(): Promise<CheckResult[]> {
  const results = [
    await check("all kernels and whole layers", async () => {
      const backend = await createWebGpuBackend({ warm: KERNELS });
      try {
        await selfCheck(backend);
      } finally {
        await backend.dispose();
      }
    }),
  ];
  const products = [gemmNN, gemmNT, gemmTN], names = products.map(({ name }) => name);
  for (const variant of shadersOf(gemmNN).keys()) {
    const tuning: Tuning = Object.fromEntries(names.map((name) => [name, variant]));
    results.push(
      await check(`the matrix products, ${variant}`, async () => {
        const backend = await createWebGpuBackend({ tuning: () => tuning });
        try {
          await selfCheck(backend, ALL_CASES.filter(({ subject }) => names.includes(subject)), []);
        } finally {
          await backend.dispose();
        }
      }),
    );
  }
  return results;
}

async function check(what: string, run: () => Promise<void>): Promise<CheckResult> {
  const started = performance.now();
  const message = await run().then(() => undefined, messageOf);
  return { what, passed: message === undefined, message, seconds: (performance.now() - started) / 1000 };
}
