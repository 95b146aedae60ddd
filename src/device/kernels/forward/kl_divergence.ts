/** The Kullback–Leibler divergence of a model's predictions from those of another model, computed from the logits of both. */

import { defineKernel, rowGrid } from "../kernel.ts";
import { filled, signed, sumRoundings } from "../kernel_case.ts";
import { loop, sequence } from "../loop_count.ts";
import { SIZE } from "./normalize.ts";
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import maxima from "../../../../shaders/shared/workgroup_max.wgsl" with { type: "text" };
import code from "../../../../shaders/kl_divergence.wgsl" with { type: "text" };

/**
 * For r < rows: divergence[r] ← Σ_{c < cols} p_c·(log p_c − log q_c), in nats. p are the probabilities by
 * reference[r·ld + c], and q those by logits[r·ld + c]. The largest logit of each row is subtracted before exp.
 */
export const klDivergence = defineKernel({
  name: "kl_divergence",
  bindings: { reference: "read", logits: "read", divergence: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32" },
  shader: {
    code: sums + maxima + code,
    entryPoint: "kl_divergence",
    grid: rowGrid,
    loops: (p) => {
      const columns = loop(Math.ceil(p.cols / SIZE)), tree = loop(Math.log2(SIZE));
      return sequence(columns, tree, columns, tree, tree);
    },
  },
  cases: () => [klDivergenceCase(3, 1001, 9, 200), klDivergenceCase(7, 3001, 9)],
});

/**
 * A case with `padding` elements after each row of logits, which are between −8 and 8.
 * @param offset what is added to the logits of odd columns. It moves the probabilities to them, and without subtracting the
 * largest logit, exp would overflow
 */
export function klDivergenceCase(rows: number, cols: number, padding: number, offset = 0) {
  const ld = cols + padding;
  const logits = (seed: number) =>
    signed(rows * ld, seed).map((value, i) => 8 * value + (i % ld) % 2 * offset);
  return {
    ...offset && { feature: `logits up to ${offset + 8}` },
    params: { rows, cols, ld },
    buffers: () => ({ reference: logits(444), logits: logits(445), divergence: filled(rows + 2) }),
    // A logit is rounded when the largest one is subtracted, so the error grows with the logits.
    roundings: { divergence: sumRoundings(cols) + 2 * offset },
  };
}
