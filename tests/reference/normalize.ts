/** LayerNorm (Ba et al., arXiv 1607.06450) and RMSNorm (Zhang & Sennrich, arXiv 1910.07467) in float64. */

/**
 * (x − mean)/√(variance + eps)·weight + bias for each row of `cols` elements. The variance is biased: it is
 * divided by `cols`.
 */
export function referenceLayerNorm(
  x: ArrayLike<number>,
  cols: number,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  eps: number,
): Float64Array {
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += cols) {
    let mean = 0, variance = 0;
    for (let c = 0; c < cols; c++) mean += x[start + c] / cols;
    for (let c = 0; c < cols; c++) variance += (x[start + c] - mean) ** 2 / cols;
    const deviation = Math.sqrt(variance + eps);
    for (let c = 0; c < cols; c++) y[start + c] = (x[start + c] - mean) / deviation * weight[c] + bias[c];
  }
  return y;
}

/** x/√(mean of squares + eps)·weight for each row of `cols` elements. */
export function referenceRmsNorm(
  x: ArrayLike<number>,
  cols: number,
  weight: ArrayLike<number>,
  eps: number,
): Float64Array {
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += cols) {
    let mean = 0;
    for (let c = 0; c < cols; c++) mean += x[start + c] ** 2 / cols;
    for (let c = 0; c < cols; c++) y[start + c] = x[start + c] / Math.sqrt(mean + eps) * weight[c];
  }
  return y;
}
