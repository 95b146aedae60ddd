import type { Reference } from "../kernel_reference.ts";

/** Adds, for each product of the convolution, its weight times the gradient of its output to the gradient of its input. */
export const causal_convolution_backward: Reference = ({ weight, gradient, x_gradient }, p) => {
  for (let b = 0; b < p.batch; b++) {
    for (let t = 0; t < p.tokens; t++) {
      for (let h = 0; h < p.heads; h++) {
        for (let d = 0; d < p.head_dim; d++) {
          const c = p.first + h * p.head_dim + d;
          for (let i = 0; i < p.taps; i++) {
            const s = t - p.taps + 1 + i;
            if (s < 0) continue;
            const at = p.offset + (b * p.tokens + s) * p.ldx + h * p.head_stride + d;
            x_gradient[at] += weight[c * p.taps + i] * gradient[(b * p.tokens + t) * p.ldy + c];
          }
        }
      }
    }
  }
};
