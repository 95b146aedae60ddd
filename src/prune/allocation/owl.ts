/**
 * Computes the sparsity of each transformer block by the method OWL (Yin et al. 2023, arXiv 2310.05175, section 3.2). A weight is an
 * outlier if its score |W[i,j]|·√H[j,j] is larger than M times the mean score of its block, where H[j,j] is the squared norm of input j
 * over the calibration text. Blocks with more outliers keep more weights. The sparsities of two blocks differ by at most 2λ.
 */

/** M of the paper: an outlier has a score of more than M times the mean. */
const OUTLIER_FACTOR = 5;

/** λ of the paper, which is half of the range of the blocks' sparsities. */
const LARGEST_DEVIATION = 0.08;

export interface ScoredLayer {
  /** W, (out features, in features), row by row. */
  readonly weight: Float32Array;
  /** H[j,j] = Σ x_j² of each input j, (in features). */
  readonly squaredNorms: Float32Array;
}

/** Returns D of the paper: the percentage of outliers among the weights of the layers of one block. */
export function outlierPercentage(layers: readonly ScoredLayer[]): number {
  let sum = 0, entries = 0;
  for (const { weight, squaredNorms } of layers) {
    const scales = squaredNorms.map(Math.sqrt), cols = scales.length;
    for (let i = 0; i < weight.length; i++) sum += Math.abs(weight[i]) * scales[i % cols];
    entries += weight.length;
  }
  const threshold = OUTLIER_FACTOR * sum / entries;
  let outliers = 0;
  for (const { weight, squaredNorms } of layers) {
    const scales = squaredNorms.map(Math.sqrt), cols = scales.length;
    for (let i = 0; i < weight.length; i++) {
      if (Math.abs(weight[i]) * scales[i % cols] > threshold) outliers++;
    }
  }
  return 100 * outliers / entries;
}

/**
 * Returns the sparsity of each block, which is `sparsity` + mean(r) − r with r = (D − min D)/(max D − min D)·2λ. The mean over the blocks
 * is weighted by their numbers of weights, so the model as a whole has sparsity `sparsity`. The paper takes the plain mean, which is the
 * same if all blocks have the same size. A returned sparsity may be below 0 or above 1 if `sparsity` is within 2λ of 0 or 1.
 * @param outliers D of each block
 * @param entries the number of weights of each block
 */
export function owlSparsities(
  outliers: readonly number[],
  entries: readonly number[],
  sparsity: number,
): number[] {
  const min = Math.min(...outliers), range = Math.max(...outliers) - min;
  const raised = outliers.map((d) => range === 0 ? 0 : (d - min) / range * 2 * LARGEST_DEVIATION);
  const total = entries.reduce((sum, count) => sum + count, 0);
  const mean = raised.reduce((sum, value, i) => sum + value * entries[i], 0) / total;
  return raised.map((value) => sparsity + mean - value);
}
