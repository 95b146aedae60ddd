import { packed, type Reference } from "../kernel_reference.ts";

/**
 * The gradients of LayerNorm and RMSNorm by the chain rule, over the whole Jacobian of a row. The normalised element n_c = d_c·s, with
 * d_c = x_c − mean (or x_c) and s = 1/√(mean of d² + eps), has the derivative (δ_ce − 1/cols)·s − d_c·s³·d_e/cols by x_e, where an RMSNorm
 * lacks the term 1/cols.
 */
export const norm_backward: Reference = ({ x, weight, gradient, x_gradient }, p) => {
  const { rows, cols, eps, is_centered } = p;
  for (let r = 0; r < rows; r++) {
    const row = packed(x, 1, cols, r * cols, cols), g = packed(gradient, 1, cols, r * cols, cols);
    const mean = is_centered ? row.reduce((sum, value) => sum + value, 0) / cols : 0;
    const d = row.map((value) => value - mean);
    const s = 1 / Math.sqrt(d.reduce((sum, value) => sum + value ** 2, 0) / cols + eps);
    for (let e = 0; e < cols; e++) {
      for (let c = 0; c < cols; c++) {
        const identity = (c === e ? 1 : 0) - (is_centered ? 1 / cols : 0);
        x_gradient[r * cols + e] += g[c] * weight[c] * (identity * s - d[c] * s ** 3 * d[e] / cols);
      }
      gradient[r * cols + e] = g[e] * d[e] * s;
    }
  }
};
