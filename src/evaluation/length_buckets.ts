/**
 * Groups requests of similar length, so that each group runs as windows of one length. Every group loads the whole model once. Few groups
 * load fewer weights, and many groups compute less padding.
 */

/** A request joins a group only if it has at least this fraction of the longest request's length. This limits the padding. */
const SHORTEST_OF_LONGEST = 0.75;

/**
 * Returns the indices of `lengths` in groups, the longest first.
 * @param mostTokens the most tokens of a group, including padding. A longer request is a group of its own
 */
export function groupByLength(lengths: readonly number[], mostTokens = Infinity): number[][] {
  const groups: number[][] = [];
  const longestFirst = [...lengths.keys()].sort((a, b) => lengths[b] - lengths[a] || a - b);
  for (const index of longestFirst) {
    const group = groups.at(-1);
    const longest = group ? lengths[group[0]] : 0;
    const fits = group && (group.length + 1) * longest <= mostTokens;
    if (fits && lengths[index] >= SHORTEST_OF_LONGEST * longest) group.push(index);
    else groups.push([index]);
  }
  return groups;
}

/** Pads `tokens` on the right to `length`. The padding does not change the results, because no token depends on later ones. */
export function padRight(tokens: Uint32Array, length: number): Uint32Array {
  const padded = new Uint32Array(length);
  padded.set(tokens);
  return padded;
}
