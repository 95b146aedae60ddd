/** The optimiser Adam (Kingma and Ba, arXiv 1412.6980), with the decay rates 0.9 and 0.999 and ε = 1e-8. */

import { defineKernel, linearGrid } from "../kernel.ts";
import { coarse, positives, signed } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import adamCode from "../../../../shaders/adam.wgsl" with { type: "text" };

/** The decay rates of the first and of the second moment. */
const DECAY_RATES = [0.9, 0.999] as const;

/**
 * For i < count, with the gradient g of weight w: first ← 0.9·first + 0.1·g, second ← 0.999·second + 0.001·g², and w ←
 * w − rate·first/(correction·√second + 1e-8). With `keeps_zeros` = 1, a weight that is 0 does not change. {@link
 * adamStep} returns `rate` and `correction`.
 */
export const adam = defineKernel({
  name: "adam",
  bindings: { gradient: "read", weight: "read_write", first: "read_write", second: "read_write" },
  params: { count: "u32", keeps_zeros: "u32", rate: "f32", correction: "f32" },
  shader: { code: shared + adamCode, grid: (p) => linearGrid(p.count, 256) },
  cases: () => [
    { feature: "all weights", ...adamCase(601, 0) },
    { feature: "zeros stay", ...adamCase(601, 1) },
    { feature: "tiny gradients", ...adamCase(601, 0, 1e-8) },
  ],
});

/** Returns the parameters of step `step` ≥ 1. They correct for moments that were 0 before the first step. */
export function adamStep(learningRate: number, step: number): { rate: number; correction: number } {
  const [first, second] = DECAY_RATES.map((rate) => 1 - rate ** step);
  return { rate: learningRate / first, correction: 1 / Math.sqrt(second) };
}

/** A case that changes the first `count` weights of a longer buffer. A sixteenth of the weights is 0. */
export function adamCase(count: number, keeps_zeros: number, scale = 1) {
  return {
    params: { count, keeps_zeros, ...adamStep(0.5, 3) },
    buffers: () => ({
      gradient: signed(count + 6, 830).map((value) => scale * value),
      weight: coarse(count + 6, 831).map((value) => value === 0 ? 0 : value),
      first: signed(count + 6, 832).map((value) => scale * value),
      second: positives(count + 6, 833).map((value) => scale * scale * value),
    }),
    roundings: { weight: 16, first: 4, second: 4 },
  };
}
