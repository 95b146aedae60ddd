/** The negative log-likelihood of tokens in float64, from the definition of the softmax. */

/** Computes −log softmax(row)[target] for each row of `cols` logits, in nats. There is one target per row. */
export function referenceCrossEntropy(
  logits: ArrayLike<number>,
  cols: number,
  targets: ArrayLike<number>,
): Float64Array {
  return Float64Array.from({ length: targets.length }, (_, r) => {
    const row = Array.from({ length: cols }, (_, c) => logits[r * cols + c]);
    const largest = row.reduce((a, b) => Math.max(a, b));
    return Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0)) + largest - row[targets[r]];
  });
}
