/** Which entries of a weight matrix may be kept: how a sparsity pattern is written, read and counted. */

/** Any entries, or at most `keep` of every `group` consecutive inputs (n:m, written `keep:group`). */
export type Pattern =
  | { readonly kind: "unstructured" }
  | { readonly kind: "n:m"; readonly keep: number; readonly group: number };

/** The largest group an n:m pattern may have: a group must fit a block of columns. */
export const MAX_GROUP = 128;

/**
 * Reads `unstructured` or `n:m` (keep n of every m).
 * @throws {RangeError} naming the rule broken and the text
 */
export function parsePattern(text: string): Pattern {
  if (text === "unstructured") return { kind: "unstructured" };
  const match = /^(\d{1,4}):(\d{1,4})$/.exec(text);
  if (!match) throw new RangeError(`pattern "${text}": must be "unstructured" or "n:m", such as 2:4`);
  const keep = Number(match[1]), group = Number(match[2]);
  if (keep < 1 || keep >= group || group > MAX_GROUP) {
    throw new RangeError(`pattern "${text}": n:m needs 1 ≤ n < m ≤ ${MAX_GROUP}`);
  }
  return { kind: "n:m", keep, group };
}

/** The text `parsePattern` reads. */
export function formatPattern(pattern: Pattern): string {
  return pattern.kind === "unstructured" ? pattern.kind : `${pattern.keep}:${pattern.group}`;
}

/** Whether a layer pruned to `pattern` has at most two entries left in every four, as 2:4 hardware and files want them. */
export function fitsTwoOfFour(pattern: Pattern): boolean {
  return pattern.kind === "n:m" && 4 % pattern.group === 0 && pattern.keep * (4 / pattern.group) <= 2;
}

/** How many of a row's `cols` entries an n:m pattern prunes; a last partial group of g keeps ceil(n·g/m). */
export function prunedPerRow(pattern: Pattern & { kind: "n:m" }, cols: number): number {
  const { keep, group } = pattern;
  const rest = cols % group;
  return Math.floor(cols / group) * (group - keep) + rest - Math.ceil((keep * rest) / group);
}
