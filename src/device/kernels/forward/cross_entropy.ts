/** The negative log-likelihood of the next token, computed from a model's logits. */

import { defineKernel, rowGrid, u32 } from "../kernel.ts";
import { below, EXPONENTIAL, filled, signed, sumRoundings } from "../kernel_case.ts";
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import maxima from "../../../../shaders/shared/workgroup_max.wgsl" with { type: "text" };
import code from "../../../../shaders/cross_entropy.wgsl" with { type: "text" };

/**
 * For r < rows: loss[r] ← log Σ_{c < cols} exp(logits[r·ld + c]) − logits[r·ld + targets[r]], in nats. The largest
 * logit of the row is subtracted before exp, so that the sum does not overflow.
 */
export const crossEntropy = defineKernel({
  name: "cross_entropy",
  bindings: { logits: "read", targets: "read", loss: "read_write" },
  params: u32("rows", "cols", "ld"),
  shader: { code: sums + maxima + code, grid: rowGrid },
  cases: () => [
    {
      feature: "one large logit",
      params: { rows: 3, cols: 1001, ld: 1010 },
      buffers: () => ({
        // Without subtracting the largest logit, wherever it is, exp would overflow.
        logits: signed(3 * 1010, 440).map((value, i) =>
          i % 1010 === [255, 767, 1000][Math.floor(i / 1010)] ? 200 : value
        ),
        targets: below(1001, 3, 441),
        loss: filled(3),
      }),
      roundings: { loss: EXPONENTIAL },
    },
    crossEntropyCase(7, 3001, 9),
  ],
});

/** A case with `padding` elements after each row of logits, which are between −8 and 8. */
export function crossEntropyCase(rows: number, cols: number, padding: number) {
  const ld = cols + padding;
  return {
    params: { rows, cols, ld },
    buffers: () => ({
      logits: signed(rows * ld, 438).map((value) => 8 * value),
      targets: below(cols, rows, 439),
      loss: filled(rows + 2),
    }),
    roundings: { loss: sumRoundings(cols) },
  };
}
