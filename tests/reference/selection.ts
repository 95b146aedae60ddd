/**
 * The rule by which Pare selects the entries to prune, implemented by sorting. It selects the k entries with
 * the smallest scores. Forced entries come before all others, and of entries with equal scores the one with
 * the lower index comes first. This rule differs from the published SparseGPT code, which compares scores
 * with a threshold.
 */

/**
 * Returns an array with 1 for every selected entry and 0 for the others. Forced entries count among the k
 * selected entries.
 */
export function referenceSelection(
  scores: ArrayLike<number>,
  k: number,
  forced: (index: number) => boolean = () => false,
): Uint8Array {
  const order = Array.from(scores, (score, index) => ({ score: forced(index) ? -1 : score, index }));
  order.sort((a, b) => a.score - b.score || a.index - b.index);
  const chosen = new Uint8Array(scores.length);
  for (const { index } of order.slice(0, k)) chosen[index] = 1;
  return chosen;
}
