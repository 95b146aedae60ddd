/** The Kullback–Leibler divergence between the predictions of two models, computed from their logits. */

import { defineKernel, rowGrid, u32 } from "../kernel.ts";
import { filled, signed, sumRoundings } from "../kernel_case.ts";
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import maxima from "../../../../shaders/shared/workgroup_max.wgsl" with { type: "text" };
import code from "../../../../shaders/kl_divergence.wgsl" with { type: "text" };

/**
 * For r < rows: divergence[r] ← Σ_{c < cols} p_c·(log p_c − log q_c), in nats. p is the softmax of reference[r·ld + c],
 * and q the softmax of logits[r·ld + c]. The largest logit of each row is subtracted before exp.
 */
export const klDivergence = defineKernel({
  name: "kl_divergence",
  bindings: { reference: "read", logits: "read", divergence: "read_write" },
  params: u32("rows", "cols", "ld"),
  shader: { code: sums + maxima + code, grid: rowGrid },
  cases: () => [
    {
      feature: "one large logit",
      ...klDivergenceCase(3, 1001, 9),
      buffers: () => {
        const { reference, logits, divergence } = klDivergenceCase(3, 1001, 9).buffers();
        // Without subtracting the largest logit, wherever it is, exp would overflow.
        [255, 767, 1000].forEach((column, r) => {
          reference[1010 * r + column] = 200;
          logits[1010 * r + 1000 - column] = 200;
        });
        return { reference, logits, divergence };
      },
    },
    klDivergenceCase(7, 3001, 9),
  ],
});

/** A case with `padding` elements after each row of logits, which are between −8 and 8. */
export function klDivergenceCase(rows: number, cols: number, padding: number) {
  const ld = cols + padding;
  return {
    params: { rows, cols, ld },
    buffers: () => ({
      reference: signed(rows * ld, 444).map((value) => 8 * value),
      logits: signed(rows * ld, 445).map((value) => 8 * value),
      divergence: filled(rows + 2),
    }),
    roundings: { divergence: sumRoundings(cols) },
  };
}
