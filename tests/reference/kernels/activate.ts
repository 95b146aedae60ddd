/**
 * Activation functions in float64, from their definitions: GELU and its tanh approximation (Hendrycks & Gimpel, arXiv
 * 1606.08415), SiLU (Elfwing et al., arXiv 1702.03118), ReLU and its square.
 */

import { eachElement, type Reference } from "../kernel_reference.ts";

/**
 * The error function, by the series 2/√π · e^(−x²) · Σ 2ⁿ·x^(2n+1)/(2n+1)!! (Abramowitz & Stegun, 7.1.6). All terms have
 * the same sign, so no digits are lost by cancellation.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // 1 − erf(6) is 2e-17, which is below the precision of float64
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-18; n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

/** The activation functions in the order of the values of the kernels' parameter `activation`. */
export const REFERENCE_ACTIVATIONS = {
  none: (x: number) => x,
  relu: (x: number) => x > 0 ? x : 0,
  gelu_tanh: (x: number) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu: (x: number) => x / 2 * (1 + erf(x / Math.SQRT2)),
  silu: (x: number) => x / (1 + Math.exp(-x)),
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  relu2: (x: number) => x > 0 ? x ** 2 : 0,
} as const;

const BY_CODE = Object.values(REFERENCE_ACTIVATIONS);

export const bias_activate: Reference = ({ bias, x }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    x[r * p.cols + c] = BY_CODE[p.activation](x[r * p.cols + c] + (p.has_bias ? bias[c] : 0));
  });

export const gated_multiply: Reference = ({ gate, up, y }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const gated = BY_CODE[p.activation](gate[p.gate_offset + r * p.ld_gate + c]);
    y[r * p.cols + c] = gated * up[p.up_offset + r * p.ld_up + c];
  });

export const clamped_gate: Reference = ({ gate_up, y }, { count, alpha, limit }) => {
  for (let i = 0; i < count; i++) {
    const gate = Math.min(gate_up[2 * i], limit), up = Math.max(-limit, Math.min(gate_up[2 * i + 1], limit));
    y[i] = (up + 1) * gate / (1 + Math.exp(-alpha * gate));
  }
};

export const soft_cap: Reference = ({ x }, { count, cap }) => {
  for (let i = 0; i < count; i++) x[i] = cap * Math.tanh(x[i] / cap);
};
