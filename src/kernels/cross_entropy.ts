/** Next-token negative log-likelihood from logits. */

import { defineKernel } from "./kernel.ts";
import { loop, sequence } from "./loop_count.ts";
import code from "../../shaders/cross_entropy.wgsl" with { type: "text" };

/** Invocations of a workgroup: SIZE of shaders/cross_entropy.wgsl. */
const SIZE = 256;

/** loss[r] ← log Σ_c exp(logits[r·ld + c]) − logits[r·ld + targets[r]], c < cols, in nats, with the maximum subtracted. */
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
