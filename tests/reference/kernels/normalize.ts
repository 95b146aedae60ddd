import { packed, type Reference } from "../kernel_reference.ts";

/** LayerNorm (Ba et al., arXiv 1607.06450). The variance is biased: it is divided by `cols`. */
export const layer_norm: Reference = ({ x, weight, bias, y }, { rows, cols, eps }) => {
  for (let r = 0; r < rows; r++) {
    const row = packed(x, 1, cols, r * cols, cols), mean = row.reduce((sum, value) => sum + value, 0) / cols;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / cols;
    const deviation = Math.sqrt(variance + eps);
    row.forEach((value, c) => y[r * cols + c] = (value - mean) / deviation * weight[c] + bias[c]);
  }
};

/** RMSNorm (Zhang & Sennrich, arXiv 1910.07467). */
export const rms_norm: Reference = ({ x, weight, y }, { rows, cols, eps }) => {
  for (let r = 0; r < rows; r++) {
    const row = packed(x, 1, cols, r * cols, cols);
    const meanSquare = row.reduce((sum, value) => sum + value ** 2, 0) / cols;
    row.forEach((value, c) => y[r * cols + c] = value / Math.sqrt(meanSquare + eps) * weight[c]);
  }
};

/** Divides the rows of y by the root mean squares of the rows of x. */
export const divide_by_rms: Reference = ({ x, y }, { rows, cols, y_cols, eps }) => {
  for (let r = 0; r < rows; r++) {
    const row = packed(x, 1, cols, r * cols, cols);
    const deviation = Math.sqrt(row.reduce((sum, value) => sum + value ** 2, 0) / cols + eps);
    for (let c = 0; c < y_cols; c++) y[r * y_cols + c] /= deviation;
  }
};
