/** The selection rule by sorting: the k smallest scores, forced entries before all others, equal ones by index. */

/** 1 at the chosen entries. `forced` entries count among the k. */
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
