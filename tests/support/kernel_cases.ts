/** Runs cases of kernels on every backend, and compares the results with the float64 references. */

import { AssertionError } from "node:assert";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import type { Kernel } from "../../src/kernels/kernel.ts";
import type { KernelCase, Values } from "../../src/kernels/kernel_case.ts";
import { dispatchCase } from "../../scripts/self_check/dispatch_case.ts";
import { runReference } from "../reference/run_reference.ts";
import { assertClose } from "./assert_close.ts";
import { eachBackend } from "./backends.ts";

/** The title of a test, and the cases that it runs. */
type Titled<B extends string, P extends string> = readonly [title: string, ...cases: KernelCase<B, P>[]];

/**
 * Declares a suite that runs the cases of a kernel's declaration, and further cases.
 * @param options.tolerance the largest error of rounded outputs, relative to the largest computed element
 */
export function testKernel<B extends string, P extends string>(
  kernel: Kernel<B, P>,
  options: { readonly tolerance: number; readonly suite?: typeof eachBackend },
  ...tests: readonly Titled<B, P>[]
): void {
  const { suite = eachBackend, tolerance } = options;
  suite(kernel.name, (backend) => {
    it("computes the cases of its declaration", async () => {
      for (const own of kernel.cases()) await assertCase(backend(), kernel, own, tolerance);
    });
    for (const [title, ...cases] of tests) {
      it(title, async () => {
        for (const one of cases) await assertCase(backend(), kernel, one, tolerance);
      });
    }
  });
}

/**
 * Runs one case. Elements that the reference does not write must keep their bits, and so must all elements of a buffer
 * without declared roundings equal the reference bit for bit.
 */
export async function assertCase<B extends string, P extends string>(
  backend: Backend,
  kernel: Kernel<B, P>,
  { params, buffers, roundings, includes, feature = "" }: KernelCase<B, P>,
  tolerance: number,
): Promise<void> {
  const before: Readonly<Record<string, Values>> = buffers(), plain = kernel as unknown as Kernel;
  const after = await dispatchCase(backend, plain, before, params);
  const expected = runReference(plain, before, params);
  for (const [name, actual] of Object.entries(after)) {
    const binding = name as B, label = `${kernel.name} ${feature} ${JSON.stringify(params)}: ${name}`;
    const isRounded = roundings?.[binding] !== undefined, computed: number[] = [];
    const exact = actual instanceof Float32Array ? Float32Array.from(expected[name]) : expected[name];
    for (let i = 0; i < actual.length; i++) {
      if (includes?.[binding]?.(i) === false) continue;
      if (isRounded && !Object.is(expected[name][i], before[name][i])) computed.push(i);
      else if (!Object.is(actual[i], exact[i])) {
        throw new AssertionError({ message: `${label}[${i}] is ${actual[i]}, expected ${exact[i]}` });
      }
    }
    assertClose(computed.map((i) => actual[i]), computed.map((i) => expected[name][i]), tolerance, { label });
  }
}
