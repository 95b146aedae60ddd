/** Suggests the name that a user probably meant, for the error message about an unknown name. */

/**
 * The length of the longest candidate that is compared. Longer names occur only in hostile files, where
 * computing the distance would take seconds and the message would take megabytes.
 */
const MAX_LENGTH = 512;

/**
 * Finds the candidate with the smallest edit distance to `name`. Returns undefined if every candidate is too
 * long to be compared.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let minDistance = Infinity;
  for (const candidate of candidates) {
    if (candidate.length > MAX_LENGTH) continue;
    const distance = editDistance(name, candidate);
    if (distance < minDistance) [nearest, minDistance] = [candidate, distance];
  }
  return nearest;
}

/** Computes the Levenshtein distance of two strings: the number of insertions, deletions and substitutions. */
function editDistance(a: string, b: string): number {
  // The dynamic-programming table is computed row by row. Only the current row is stored.
  const row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    let diagonal = row[0];
    row[0] = i;
    for (let j = 1; j <= b.length; j++) {
      const substituted = diagonal + (a[i - 1] === b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = Math.min(substituted, row[j] + 1, row[j - 1] + 1);
    }
  }
  return row[b.length];
}
