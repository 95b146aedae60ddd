/**
 * Rejects dispatches that a software adapter, which emulates a GPU on the CPU, could compute wrongly. Some
 * versions of Mesa end the loops of a shader after a fixed number of iterations per invocation, without an
 * error (`kernels/loop_count.ts`).
 */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";
import { MAX_LOOP_ITERATIONS } from "../kernels/loop_count.ts";

/**
 * Checks the number of loop iterations of one dispatch. A shader that declares no loop count passes.
 * @throws {RangeError} naming the kernel and the count, if one invocation would need `MAX_LOOP_ITERATIONS` or more
 */
export function assertUnderLoopLimit(
  { name }: Kernel,
  shader: ShaderVariant,
  params: Readonly<Record<string, number>>,
): void {
  const iterations = shader.loops?.(params).iterations ?? 0;
  if (iterations >= MAX_LOOP_ITERATIONS) {
    throw new RangeError(
      `dispatch of ${name}: one invocation would need ${iterations} loop iterations, but a software adapter ` +
        `may end its loops after ${MAX_LOOP_ITERATIONS}`,
    );
  }
}
