/** The elementwise kernels of a model's forward pass. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { EXPONENTIAL, filled, positives, signed } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import softCapFunction from "../../../../shaders/shared/soft_cap.wgsl" with { type: "text" };
import activateCode from "../../../../shaders/activate.wgsl" with { type: "text" };

const code = shared + activation + softCapFunction + activateCode;

/** The values of the `activation` parameter. `gelu_tanh` is the usual approximation of the exact `gelu` by tanh. `relu2` is the square of `relu`. */
export const ACTIVATION_CODE = {
  none: 0,
  relu: 1,
  gelu_tanh: 2,
  gelu: 3,
  silu: 4,
  sigmoid: 5,
  relu2: 6,
} as const;

/**
 * In place, for r < rows and c < cols: x[r·cols + c] ← activation(x[r·cols + c] + bias[c]). With `has_bias` = 0, no
 * bias is added and `bias` is not read.
 */
export const biasActivate = defineKernel({
  name: "bias_activate",
  bindings: { bias: "read", x: "read_write" },
  params: u32("rows", "cols", "has_bias", "activation"),
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  roundedOutput: ({ rows, cols }) => rows * cols,
  cases: () => [
    ...[1, 0].map((has_bias) => ({
      feature: has_bias ? "bias alone" : "nothing",
      params: { rows: 29, cols: 71, has_bias, activation: ACTIVATION_CODE.none },
      buffers: () => ({ bias: signed(71, 415), x: signed(29 * 71 + 5, 416) }),
      roundings: { x: 1 },
    })),
    ...activationCases((activation, range) => biasActivateCase(29, 71, activation, range)),
  ],
});

/**
 * For r < rows and c < cols:
 * y[r·cols + c] ← activation(gate[gate_offset + r·ld_gate + c])·up[up_offset + r·ld_up + c].
 * `gate` and `up` may be ranges of columns of one matrix in the same buffer.
 */
export const gatedMultiply = defineKernel({
  name: "gated_multiply",
  bindings: { gate: "read", up: "read", y: "read_write" },
  params: u32("rows", "cols", "gate_offset", "ld_gate", "up_offset", "ld_up", "activation"),
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  roundedOutput: ({ rows, cols }) => rows * cols,
  cases: () => activationCases((activation, range) => gatedMultiplyCase(29, 71, activation, range)),
});

/**
 * The gate of gpt-oss (arXiv 2508.10925), for i < count:
 * y[i] ← (clamp(gate_up[2i + 1], −limit, limit) + 1)·g·σ(alpha·g) with g = min(gate_up[2i], limit), where σ is the logistic
 * function. The gate and the other factor of an element of y are neighbours.
 */
export const clampedGate = defineKernel({
  name: "clamped_gate",
  bindings: { gate_up: "read", y: "read_write" },
  params: { count: "u32", alpha: "f32", limit: "f32" },
  shader: { code, grid: (p) => linearGrid(p.count, 256) },
  roundedOutput: ({ count }) => count,
  cases: () => [3, 30].map((range) => ({ feature: `range ${range}`, ...clampedGateCase(601, range) })),
});

/** In place, for i < count: x[i] ← cap·tanh(x[i]/cap), with cap > 0. */
export const softCap = defineKernel({
  name: "soft_cap",
  bindings: { x: "read_write" },
  params: { count: "u32", cap: "f32" },
  shader: { code, grid: (p) => linearGrid(p.count, 256) },
  cases: () => [
    ...[1.5, 10].map((range) => ({ feature: `range ${range}`, ...softCapCase(601, 2.5, range) })),
    {
      feature: "where tanh is cubic",
      params: { count: 601, cap: 2.5 },
      buffers: () => ({ x: positives(607, 443).map((value) => 2.5 * (0.57 + 0.05 * value)) }),
      roundings: { x: EXPONENTIAL / 2 },
    },
  ],
});

/** Makes two cases for each activation function: where it is curved, and where it is flat or straight. */
export function activationCases<C>(
  make: (activation: number, range: number) => C,
): (C & { readonly feature: string })[] {
  return [3, 30].flatMap((range) =>
    Object.entries(ACTIVATION_CODE).map(([name, code]) => ({
      feature: `${name}, range ${range}`,
      ...make(code, range),
    }))
  );
}

/** Returns `count` random floats between −range and range. */
export function spread(count: number, seed: number, range: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => range * value);
}

/** A case with a bias, in which some elements follow the last row. */
export function biasActivateCase(rows: number, cols: number, activation: number, range: number) {
  return {
    params: { rows, cols, has_bias: 1, activation },
    buffers: () => ({ bias: signed(cols, 417), x: spread(rows * cols + 5, 418 + activation, range) }),
    roundings: { x: EXPONENTIAL },
  };
}

/** A case whose gate and other factor have padding of their own. */
export function gatedMultiplyCase(rows: number, cols: number, activation: number, range: number) {
  const ld_gate = cols + 6, ld_up = cols + 8;
  return {
    params: { rows, cols, gate_offset: 3, ld_gate, up_offset: 2, ld_up, activation },
    buffers: () => ({
      gate: spread(3 + rows * ld_gate, 421 + activation, range),
      up: signed(2 + rows * ld_up, 427),
      y: filled(rows * cols + 5),
    }),
    roundings: { y: EXPONENTIAL },
  };
}

/** A case of `count` elements, some of which the limit changes if `range` is large. */
export function clampedGateCase(count: number, range: number) {
  return {
    params: { count, alpha: 1.7, limit: 5 },
    buffers: () => ({ gate_up: spread(2 * count + 6, 429, range), y: filled(count + 5) }),
    roundings: { y: EXPONENTIAL },
  };
}

/** A case that changes the first `count` elements of a longer buffer. */
export function softCapCase(count: number, cap: number, range: number) {
  return {
    params: { count, cap },
    buffers: () => ({ x: spread(count + 6, 428, range) }),
    roundings: { x: EXPONENTIAL },
  };
}
