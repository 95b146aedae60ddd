/**
 * The element-wise kernels of a model's forward pass. One adds a bias and applies an activation function, one
 * computes the gate of a gated feed-forward layer, and one limits logits.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import softCapFunction from "../../../shaders/shared/soft_cap.wgsl" with { type: "text" };
import activateCode from "../../../shaders/activate.wgsl" with { type: "text" };

const code = shared + softCapFunction + activateCode;

/**
 * The values of the `activation` parameter. `gelu_tanh` is the usual approximation of the exact `gelu` by
 * tanh.
 */
export const ACTIVATION_CODE = { none: 0, relu: 1, gelu_tanh: 2, gelu: 3, silu: 4 } as const;

/**
 * In place, for r < rows and c < cols: x[r·cols + c] ← activation(x[r·cols + c] + bias[c]). With `has_bias` = 0, no bias is added and `bias`
 * is not read.
 */
export const biasActivate = defineKernel({
  name: "bias_activate",
  bindings: { bias: "read", x: "read_write" },
  params: { rows: "u32", cols: "u32", has_bias: "u32", activation: "u32" },
  shader: { code, entryPoint: "bias_activate", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});

/**
 * For r < rows and c < cols: y[r·cols + c] ←
 * activation(gate[gate_offset + r·ld_gate + c])·up[up_offset + r·ld_up + c]. `gate` and `up` may be the same
 * buffer, which then holds both as ranges of columns of one matrix.
 */
export const gatedMultiply = defineKernel({
  name: "gated_multiply",
  bindings: { gate: "read", up: "read", y: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    gate_offset: "u32",
    ld_gate: "u32",
    up_offset: "u32",
    ld_up: "u32",
    activation: "u32",
  },
  shader: {
    code,
    entryPoint: "gated_multiply",
    grid: (p) => linearGrid(p.rows * p.cols, 256),
  },
});

/** In place, for i < count: x[i] ← cap·tanh(x[i]/cap), with cap > 0. */
export const softCap = defineKernel({
  name: "soft_cap",
  bindings: { x: "read_write" },
  params: { count: "u32", cap: "f32" },
  shader: { code, entryPoint: "soft_cap", grid: (p) => linearGrid(p.count, 256) },
});
