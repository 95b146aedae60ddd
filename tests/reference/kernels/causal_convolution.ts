import type { Reference } from "../kernel_reference.ts";

/** A convolution of each channel with its own weights. The last weight belongs to the token itself. */
export const causal_convolution: Reference = ({ x, weight, y }, p) => {
  for (let b = 0; b < p.batch; b++) {
    for (let t = 0; t < p.tokens; t++) {
      for (let h = 0; h < p.heads; h++) {
        for (let d = 0; d < p.head_dim; d++) {
          const c = p.first + h * p.head_dim + d;
          let sum = 0;
          for (let i = 0; i < p.taps; i++) {
            const s = p.past + t - p.taps + 1 + i;
            if (s < 0) continue;
            const row = b * (p.past + p.tokens) + s;
            sum += weight[c * p.taps + i] * x[p.offset + row * p.ldx + h * p.head_stride + d];
          }
          y[(b * p.tokens + t) * p.ldy + c] = sum;
        }
      }
    }
  }
};
