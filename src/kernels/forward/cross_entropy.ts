/** The negative log-likelihood of the next token, computed from a model's logits. */

import { defineKernel } from "../kernel.ts";
import { loop, sequence } from "../loop_count.ts";
import code from "../../../shaders/cross_entropy.wgsl" with { type: "text" };

/** Invocations per workgroup. It must equal the constant of the same name in shaders/cross_entropy.wgsl. */
const SIZE = 256;

/**
 * For r < rows: loss[r] ← log Σ_{c < cols} exp(logits[r·ld + c]) − logits[r·ld + targets[r]], in nats. The largest logit of the row is
 * subtracted before exp, so that the sum does not overflow.
 */
export const crossEntropy = defineKernel({
  name: "cross_entropy",
  bindings: { logits: "read", targets: "read", loss: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32" },
  shader: {
    code,
    entryPoint: "cross_entropy",
    grid: (p) => [Math.min(p.rows, 65535), Math.ceil(p.rows / 65535), 1],
    loops: (p) => {
      const columns = loop(Math.ceil(p.cols / SIZE)), tree = loop(Math.log2(SIZE));
      return sequence(columns, tree, columns, tree);
    },
  },
});
