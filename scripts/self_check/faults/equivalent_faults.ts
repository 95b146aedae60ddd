/** Lists the changes of shaders that are no faults, because the changed shader computes the same results. */

import type { ShaderFault } from "./wgsl_faults.ts";

/** A change that is no fault. */
interface Equivalent {
  readonly kernels: readonly string[];
  /** The changed text and its replacement, as in `ShaderFault.description`. */
  readonly change: string;
  readonly reason: string;
}

const EQUIVALENT: readonly Equivalent[] = [
  {
    kernels: ["gemm_nt"],
    change: "p < params.k → (p + 1) < params.k (loop cut short)",
    reason: "the loop over whole quads of B does not run if B is transposed",
  },
  {
    kernels: ["prune_block", "prune_block_n_m", "quantize_block"],
    change: "i < WORDS → (i + LANES) < WORDS",
    reason: "the loop clears workgroup memory, which WebGPU has cleared before",
  },
  {
    kernels: ["remove_weights"],
    change: "i + 4 <= k → (i + 4) + 4 <= k",
    reason: "the next loop handles the remaining steps one by one",
  },
  {
    kernels: ["quantize_block"],
    change: "1.1754943508222875e-38 → 1.4693679e-38",
    reason: "the results are too small for every device, and the function is checked by fit_grids",
  },
  {
    kernels: ["from_float32"],
    change: "0x3ffu → 0x1ff",
    reason: "the other operand of | has this bit",
  },
  {
    kernels: ["layer_norm"],
    change: "0.0 → 0.01",
    reason: "the kernel corrects its estimate of the mean",
  },
  {
    kernels: ["bias_activate", "gated_multiply"],
    change: "9.0 → 11.250000",
    reason: "exp(−z²) is 0 beyond both limits",
  },
  {
    kernels: ["attention"],
    change: "0.0 → 0.01",
    reason: "the first key multiplies the denominator by 0",
  },
  {
    kernels: ["attention", "soft_cap"],
    change: "0.625 → 0.78125000",
    reason: "the polynomial is accurate up to both limits",
  },
  {
    kernels: ["attention"],
    change: "5.70498872745e-3 → 0.0071312359",
    reason: "the effect is below the rounding of a softmax, and the function is checked by soft_cap",
  },
  {
    kernels: ["attention"],
    change: "2.06390887954e-2 → 0.025798861",
    reason: "the effect is below the rounding of a softmax, and the function is checked by soft_cap",
  },
];

/** Returns why a change is no fault, or undefined if it is one. */
export function reasonWhyEquivalent({ kernel, kind, description }: ShaderFault): string | undefined {
  const text = `${description} (${kind})`;
  return EQUIVALENT.find(({ kernels, change }) => kernels.includes(kernel.name) && text.includes(change))
    ?.reason;
}
