/** The rule by which Pare selects the entries to prune, implemented by sorting all scores. */

/**
 * Selects `k` entries: first those for which `forced` holds, then those with the smallest scores. The lower index wins a tie.
 * @returns 1 for each selected entry and 0 for all others
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
