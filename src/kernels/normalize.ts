/** Row normalisation of activations. */

import { defineKernel } from "./kernel.ts";
import code from "../../shaders/normalize.wgsl" with { type: "text" };

/** y[r] ← (x[r] − mean)/√(variance + eps)·weight + bias over each contiguous row of `cols`; biased variance, as torch.nn.LayerNorm. */
export const layerNorm = defineKernel({
  name: "layer_norm",
  bindings: { x: "read", weight: "read", bias: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32" },
  shader: {
    code,
    entryPoint: "layer_norm",
    grid: (p) => [Math.min(p.rows, 65535), Math.ceil(p.rows / 65535), 1],
  },
});
