/** Runs cases of kernels on every backend, and compares the results with the float64 references. */

import { AssertionError } from "node:assert";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import type { Kernel } from "../../src/device/kernels/kernel.ts";
import type { KernelCase, Values } from "../../src/device/kernels/kernel_case.ts";
import { dispatchCase } from "../../scripts/self_check/dispatch_case.ts";
import { runReference } from "../reference/run_reference.ts";
import { assertClose } from "./assert_close.ts";
import { eachBackend } from "./backends.ts";

/** The title of a test, and the cases that it runs. */
type Titled<B extends string, P extends string> = readonly [title: string, ...cases: KernelCase<B, P>[]];

/** The largest errors of rounded outputs. */
interface Accuracy {
  /** The largest error, relative to the largest computed element of the output. */
  readonly tolerance: number;
  /** Returns what the error of an element is relative to, in place of the largest element. */
  readonly scaleOf?: (expected: number) => number;
}

/** Declares a suite that runs the cases of a kernel's declaration, and further cases. */
export function testKernel<B extends string, P extends string>(
  kernel: Kernel<B, P>,
  { suite = eachBackend, ...accuracy }: Accuracy & { readonly suite?: typeof eachBackend },
  ...tests: readonly Titled<B, P>[]
): void {
  suite(kernel.name, (backend) => {
    it("computes the cases of its declaration", async () => {
      for (const own of kernel.cases()) await assertCase(backend(), kernel, own, accuracy);
    });
    for (const [title, ...cases] of tests) {
      it(title, async () => {
        for (const one of cases) await assertCase(backend(), kernel, one, accuracy);
      });
    }
  });
}

/** Runs one case, and compares it with the reference of the kernel. */
export async function assertCase<B extends string, P extends string>(
  backend: Backend,
  kernel: Kernel<B, P>,
  one: KernelCase<B, P>,
  accuracy: Accuracy,
): Promise<void> {
  const before: Readonly<Record<string, Values>> = one.buffers(), plain = kernel as unknown as Kernel;
  const after = await dispatchCase(backend, plain, before, one.params);
  assertOutputs(kernel, one, { before, after, expected: runReference(plain, before, one.params) }, accuracy);
}

/**
 * Compares the written buffers. Elements that the reference does not write must keep their bits, and so must all
 * elements of a buffer without declared roundings equal the reference bit for bit.
 */
export function assertOutputs<B extends string, P extends string>(
  { name: kernelName }: Kernel<B, P>,
  { params, roundings, includes, feature = "" }: KernelCase<B, P>,
  { before, after, expected }: Readonly<
    Record<
      "before" | "after" | "expected",
      Readonly<Record<string, Float32Array | Float64Array | Uint32Array>>
    >
  >,
  { tolerance, scaleOf }: Accuracy,
): void {
  for (const [name, actual] of Object.entries(after)) {
    const binding = name as B, label = `${kernelName} ${feature} ${JSON.stringify(params)}: ${name}`;
    const isRounded = roundings?.[binding] !== undefined, computed: number[] = [];
    const exact = actual instanceof Float32Array ? Float32Array.from(expected[name]) : expected[name];
    for (let i = 0; i < actual.length; i++) {
      if (includes?.[binding]?.(i) === false) continue;
      if (isRounded && !Object.is(expected[name][i], before[name][i])) computed.push(i);
      else if (!Object.is(actual[i], exact[i])) {
        throw new AssertionError({ message: `${label}[${i}] is ${actual[i]}, expected ${exact[i]}` });
      }
    }
    const divided = (values: ArrayLike<number>) =>
      computed.map((i) => scaleOf ? values[i] / scaleOf(expected[name][i]) : values[i]);
    assertClose(divided(actual), divided(expected[name]), tolerance, { label, ...(scaleOf && { scale: 1 }) });
  }
}
