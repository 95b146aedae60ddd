/** The derivatives of the activation functions in float64, from their definitions (see `activate.ts`). */

import { eachElement, type Reference } from "../kernel_reference.ts";
import { erf, REFERENCE_ACTIVATIONS } from "./activate.ts";

/** The derivatives in the order of the values of the kernels' parameter `activation`. */
export const REFERENCE_DERIVATIVES = {
  none: () => 1,
  relu: (x: number) => x > 0 ? 1 : 0,
  gelu_tanh: (x: number) => {
    const factor = Math.sqrt(2 / Math.PI), tanh = Math.tanh(factor * (x + 0.044715 * x ** 3));
    return (1 + tanh) / 2 + x / 2 * (1 - tanh ** 2) * factor * (1 + 3 * 0.044715 * x ** 2);
  },
  gelu: (x: number) => (1 + erf(x / Math.SQRT2)) / 2 + x * Math.exp(-(x ** 2) / 2) / Math.sqrt(2 * Math.PI),
  silu: (x: number) => {
    const sigmoid = 1 / (1 + Math.exp(-x));
    return sigmoid * (1 + x * (1 - sigmoid));
  },
  sigmoid: (x: number) => Math.exp(-Math.abs(x)) / (1 + Math.exp(-Math.abs(x))) ** 2,
  relu2: (x: number) => x > 0 ? 2 * x : 0,
} as const satisfies Record<keyof typeof REFERENCE_ACTIVATIONS, (x: number) => number>;

const FUNCTIONS = Object.values(REFERENCE_ACTIVATIONS), DERIVATIVES = Object.values(REFERENCE_DERIVATIVES);

export const activate_backward: Reference = ({ x, gradient }, { count, activation }) => {
  for (let i = 0; i < count; i++) gradient[i] *= DERIVATIVES[activation](x[i]);
};

export const clamped_gate_backward: Reference = ({ gate_up, gradient, target }, { count, alpha, limit }) => {
  for (let i = 0; i < count; i++) {
    const [gate, up] = [gate_up[2 * i], gate_up[2 * i + 1]], limited = Math.min(gate, limit);
    const sigmoid = 1 / (1 + Math.exp(-alpha * limited));
    const factor = Math.max(-limit, Math.min(up, limit)) + 1;
    if (gate <= limit) target[2 * i] += gradient[i] * factor * sigmoid * (1 + alpha * gate * (1 - sigmoid));
    if (Math.abs(up) <= limit) target[2 * i + 1] += gradient[i] * limited * sigmoid;
  }
};

export const gate_backward: Reference = ({ gate, up, gradient, target }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const g = gradient[r * p.cols + c];
    const gateAt = p.gate_offset + r * p.ld_gate + c, upAt = p.up_offset + r * p.ld_up + c;
    if (p.of_up) target[upAt] += FUNCTIONS[p.activation](gate[gateAt]) * g;
    else target[gateAt] += DERIVATIVES[p.activation](gate[gateAt]) * up[upAt] * g;
  });
