/**
 * The sparsity of each transformer block by the method OWL in float64, following the paper (Yin et al. 2023,
 * arXiv 2310.05175, section 3.2) and the published code, for blocks of equal size.
 */

/** A layer: the rows of its weight W, and its inputs X with one row per token. */
export interface OwlLayer {
  readonly weight: readonly (readonly number[])[];
  readonly inputs: readonly (readonly number[])[];
}

/** Returns the percentage of outliers of a block, which are the weights whose score |W[i,j]|·‖X[:,j]‖ exceeds `factor` times the mean. */
export function referenceOutliers(layers: readonly OwlLayer[], factor: number): number {
  const scores = layers.flatMap(({ weight, inputs }) =>
    weight.flatMap((row) =>
      row.map((value, j) => Math.abs(value) * Math.hypot(...inputs.map((token) => token[j])))
    )
  );
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return scores.filter((score) => score > factor * mean).length / scores.length * 100;
}

/** Returns the fraction of weights that each block keeps. `outliers` has the percentage of outliers of each block. */
export function referenceKeepRatios(outliers: readonly number[], sparsity: number, lambda: number): number[] {
  const min = Math.min(...outliers), max = Math.max(...outliers);
  const scaled = outliers.map((d) => (d - min) * (1 / (max - min) * lambda * 2));
  const mean = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
  return scaled.map((value) => value - mean + (1 - sparsity));
}
