/** Lists the changes of shaders that are no faults, because the changed shader computes the same results. */

import type { ShaderFault } from "./wgsl_faults.ts";

/** A change that is no fault. */
interface Equivalent {
  readonly kernels: readonly string[];
  /** The changed text and its replacement, as in `ShaderFault.description`. */
  readonly change: string;
  readonly reason: string;
}

const EQUIVALENT: readonly Equivalent[] = [];

/** Returns why a change is no fault, or undefined if it is one. */
export function reasonWhyEquivalent({ kernel, description }: ShaderFault): string | undefined {
  return EQUIVALENT.find(({ kernels, change }) =>
    kernels.includes(kernel.name) && description.endsWith(change)
  )?.reason;
}
