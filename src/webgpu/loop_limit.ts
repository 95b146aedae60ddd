/** Refuses dispatches whose loops a software adapter might end early. */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";
import { MAX_LOOP_ITERATIONS } from "../kernels/loop_count.ts";

/** @throws {RangeError} one invocation of `shader` would need `MAX_LOOP_ITERATIONS` or more: names the kernel and the count */
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
