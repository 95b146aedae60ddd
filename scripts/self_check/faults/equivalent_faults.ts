/** Lists the changes of shaders that are not faults, because the changed shader computes the same results. */

import type { Tiling } from "../../../src/device/webgpu/tuning.ts";
import type { ShaderFault } from "./wgsl_faults.ts";

interface Equivalent {
  readonly kernels: readonly string[];
  /** The changed text and its replacement, as in `ShaderFault.description`. */
  readonly change: string;
  /** The kind of adapter on which the change is not a fault. Undefined if it is not a fault on either kind. */
  readonly tiling?: Tiling;
  readonly reason: string;
}

const COLUMN_LOOPS = ["prune_block", "prune_block_n_m", "quantize_block"];
const ATTENTION_GRADIENTS = [
  "attention_statistics",
  "attention_queries_backward",
  "attention_keys_backward",
  "attention_values_backward",
];
const ATTENTION = ["attention", ...ATTENTION_GRADIENTS];

const EQUIVALENT: readonly Equivalent[] = [
  {
    kernels: ["linear_attention", "linear_attention_states_backward", "linear_attention_inputs_backward"],
    change: "1.0 → 1.2500000",
    reason:
      "the last terms of the series of softplus are smaller than the roundings of the cases, and its first terms are checked",
  },
  {
    kernels: ["gemm_nt", "product_nt"],
    change: "p < params.k → (p + 1) < params.k (loop cut short)",
    reason: "the loop over whole quads of B does not run if B is transposed",
  },
  {
    kernels: COLUMN_LOOPS,
    change: "i < WORDS → (i + LANES) < WORDS",
    reason: "the loop clears workgroup memory, which WebGPU has cleared before",
  },
  {
    kernels: ["update_block", "refine_histogram"],
    change: "bin < DIGIT_BINS → (bin + BINS) < DIGIT_BINS",
    reason: "the loop clears workgroup memory, which WebGPU has cleared before",
  },
  {
    kernels: ["update_block"],
    change: "b < BINS_PER_LANE → (b + 1) < BINS_PER_LANE",
    reason: "the first digit of a key is below 1024, because a score has no sign",
  },
  {
    kernels: ["remove_weights"],
    change: "i + 4 <= k → (i + 4) + 4 <= k",
    reason: "the next loop handles the remaining steps one by one",
  },
  {
    kernels: ["fit_grids", "grid_errors", "choose_grids"],
    change: "0.501 → 0.62625000",
    reason: "these kernels have no scales of two levels",
  },
  ...[
    "1.1754943508222875e-38 → 1.4693679e-38",
    "16777216.0 → 20971520",
    "0x7fff → 0x3fff",
    "0xffff0000u → 0x7fff8000",
  ].map((change): Equivalent => ({
    kernels: ["quantize_block", "grid_errors", "choose_grids"],
    change,
    reason: "the cases have no such scales, and the function is checked by fit_grids",
  })),
  {
    kernels: ["fit_grids", "quantize_block", "grid_errors", "choose_grids"],
    change: "0.00006103515625 → 0.000076293945",
    reason: "the numbers of f16 up to 2⁻¹³ are the multiples of 2⁻²⁴, so both formulas round to them",
  },
  {
    kernels: ["from_float32"],
    change: "0x3ffu → 0x1ff",
    reason: "the other operand of | has this bit",
  },
  {
    kernels: ["layer_norm", "norm_backward"],
    change: "0.0 → 0.01",
    reason: "the kernel corrects its estimate of the mean",
  },
  {
    kernels: ["bias_activate", "gated_multiply", "activate_backward", "gate_backward"],
    change: "9.0 → 11.250000",
    reason: "exp(−z²) is 0 beyond both limits",
  },
  {
    kernels: ["attention"],
    change: "0.0 → 0.01",
    reason: "the first key multiplies the denominator by 0",
  },
  {
    kernels: ["soft_cap", ...ATTENTION],
    change: "0.625 → 0.78125000",
    reason: "the polynomial is accurate up to both limits",
  },
  ...["5.70498872745e-3 → 0.0071312359", "2.06390887954e-2 → 0.025798861"].map((change): Equivalent => ({
    kernels: ATTENTION,
    change,
    reason: "the effect is below the rounding of a softmax, and the function is checked by soft_cap",
  })),
  {
    kernels: ATTENTION_GRADIENTS,
    change: "5.37397155531e-2 → 0.067174644",
    reason: "the effect is below the rounding of the gradients, and the function is checked by soft_cap",
  },
  {
    kernels: ["gemm_nn", "gemm_nt", "gemm_tn", "product_nn", "product_nt", "product_tn"],
    change: "0.0 → 0.01",
    tiling: "discrete",
    reason: "beyond the edge, the element of the other operand is 0 or the product is outside of C",
  },
  ...[
    "c < end → (c + 1) < end",
    "c < end → (c + 16) < end",
    "s < start → (s + 1) < start",
    "t < 4 → (t + 1) < 4",
  ].map((
    change,
  ): Equivalent => ({
    kernels: COLUMN_LOOPS,
    change,
    tiling: "discrete",
    reason: "on a GPU, the whole block is one span, so update_span has nothing to do",
  })),
  ...["i * 32 < p.size → (i + 1) * 32 < p.size", "(j + 1) < min(i * 32 + 32, p.size)"].map((
    change,
  ): Equivalent => ({
    kernels: ["prune_block"],
    change,
    tiling: "discrete",
    reason: "on a GPU, rows have several lanes, which compare the keys in another loop",
  })),
  {
    kernels: ["choose_grids", "grid_errors"],
    change: "0.25 → 0.31250000",
    reason: "all grids of these kernels contain 0",
  },
  {
    kernels: ["quantize_block"],
    change: "other < parts → (other + 1) < parts",
    tiling: "software",
    reason: "on a software adapter, rows have one lane, and these loops are for several lanes",
  },
  {
    kernels: COLUMN_LOOPS,
    change: "j < p.size → (j + LANES) < p.size",
    tiling: "software",
    reason: "on a software adapter, rows have one lane, and these loops are for several lanes",
  },
];

/** Returns why a change is not a fault on this kind of adapter, or undefined if it is one. */
export function reasonWhyEquivalent(
  { kernel, kind, description }: ShaderFault,
  tiling: Tiling,
): string | undefined {
  const text = `${description} (${kind})`;
  const entry = EQUIVALENT.find((equivalent) =>
    equivalent.kernels.includes(kernel.name) && text.includes(equivalent.change) &&
    (equivalent.tiling ?? tiling) === tiling
  );
  return entry?.reason;
}
