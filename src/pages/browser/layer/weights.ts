/** The distribution of the weights of a layer. */

/** The numbers of weights in bins of equal width. */
export interface Distribution {
  /** The bins cover the weights from −limit to limit. Weights beyond are in the outermost bins. */
  readonly limit: number;
  readonly counts: Uint32Array<ArrayBuffer>;
  /** The number of weights that are exactly 0. They are in no bin. */
  readonly zeros: number;
}

/** Counts weights in `bins` bins. */
export function distributionOf(weights: Float32Array, limit: number, bins: number): Distribution {
  const counts = new Uint32Array(bins);
  let zeros = 0;
  for (const weight of weights) {
    if (weight === 0) zeros++;
    else counts[Math.min(bins - 1, Math.max(0, Math.floor((weight / limit + 1) / 2 * bins)))]++;
  }
  return { limit, counts, zeros };
}

/**
 * Returns a round limit beyond which few weights lie: four times the root of the mean square, or the largest size if that is less. It is an
 * even number of tenths of its power of ten, so that half of it is round too.
 */
export function limitOf(weights: Float32Array): number {
  let squares = 0, largest = 0;
  for (const weight of weights) {
    squares += weight * weight;
    largest = Math.max(largest, Math.abs(weight));
  }
  const limit = Math.min(largest, 4 * Math.sqrt(squares / weights.length)) || 1;
  const step = 2 * 10 ** (Math.floor(Math.log10(limit)) - 1);
  return step * Math.ceil(limit / step);
}
