/**
 * Groups requests of similar length, so that each group can run as windows of one length. Every group streams the whole model
 * once: few groups read fewer weights, many groups compute less padding.
 */

/** A group ends where a request is shorter than this part of its longest: at most so much of a window is padding. */
const SHORTEST_OF_LONGEST = 0.75;

/**
 * The indices of `lengths`, longest first, in groups.
 * @param mostTokens of a group, padding counted; a request longer than that is a group of its own
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

/** `tokens` lengthened on the right to `length`. Nothing before a token depends on what comes after it. */
export function padRight(tokens: Uint32Array, length: number): Uint32Array {
  const padded = new Uint32Array(length);
  padded.set(tokens);
  return padded;
}
