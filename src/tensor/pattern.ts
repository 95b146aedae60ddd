/** Sparsity: patterns, the bit layout of masks, and the number of entries that a pattern or a sparsity prunes. */

import { shortened } from "../base/texts.ts";

/**
 * `unstructured` allows any positions. `n:m` allows at most `keep` nonzero entries in every `group` consecutive columns
 * (inputs) of a row. Its text form is `keep:group`, for example `2:4`. `columns` removes whole columns, in sets of
 * `group` neighbours. Its text form does not have the group.
 */
export type Pattern =
  | { readonly kind: "unstructured" }
  | { readonly kind: "n:m"; readonly keep: number; readonly group: number }
  | { readonly kind: "columns"; readonly group: number };

/** The text form of a pattern, such as `2:4`. The type does not say that n is less than m. */
export type PatternText = "unstructured" | "columns" | `${number}:${number}`;

/** The largest group of an n:m pattern. A solver prunes blocks of columns, and a group must fit into one block. */
export const MAX_GROUP = 128;

/**
 * Parses the text form of a pattern: `unstructured`, `n:m` to keep n of every m entries, or `columns`.
 * @param columnGroup the number of columns in a set of the pattern `columns`
 * @throws {RangeError} if `text` is not a pattern. The message quotes the text and the rule that it breaks.
 */
export function parsePattern(text: string, columnGroup = 1): Pattern {
  if (text === "unstructured") return { kind: "unstructured" };
  if (text === "columns") return { kind: "columns", group: columnGroup };
  const match = /^(\d{1,4}):(\d{1,4})$/.exec(text);
  if (!match) {
    throw new RangeError(
      `pattern "${shortened(text)}": must be "unstructured", "columns" or "n:m", such as 2:4`,
    );
  }
  const keep = Number(match[1]), group = Number(match[2]);
  if (keep < 1 || keep >= group || group > MAX_GROUP) {
    throw new RangeError(`pattern "${text}": n:m needs 1 ≤ n < m ≤ ${MAX_GROUP}`);
  }
  return { kind: "n:m", keep, group };
}

/** Formats a pattern as the text that {@link parsePattern} parses. */
export function formatPattern(pattern: Pattern): PatternText {
  return pattern.kind === "n:m" ? `${pattern.keep}:${pattern.group}` : pattern.kind;
}

/** Returns how many entries an n:m pattern prunes in a row. An incomplete last group of g entries keeps ceil(n·g/m). */
export function prunedPerRow(pattern: Pattern & { kind: "n:m" }, cols: number): number {
  const { keep, group } = pattern;
  const rest = cols % group;
  return Math.floor(cols / group) * (group - keep) + rest - Math.ceil((keep * rest) / group);
}

/**
 * Returns the number of columns that the pattern `columns` removes of `cols` columns. These are as many whole sets as
 * are nearest to the sparsity, but never all.
 */
export function removedColumns(
  { group }: Pattern & { kind: "columns" },
  sparsity: number,
  cols: number,
): number {
  const sets = cols / group;
  return group * Math.min(sets - 1, Math.round(sparsity * sets));
}

/** The number of u32 words in one row of a mask with `cols` columns, on a device. */
export function wordsPerRow(cols: number): number {
  return Math.ceil(cols / 32);
}

/** The number of bytes in one row of a mask with `cols` columns, in a file. */
export function maskRowBytes(cols: number): number {
  return Math.ceil(cols / 8);
}

/** Counts the bits of `words` that are 1. */
export function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/**
 * Computes how many entries to prune in each block, so that round(sparsity · entries so far) entries are pruned after
 * every block. If a block has more forced entries than its share, later blocks prune fewer, as far as possible.
 */
export class PruningBudget {
  #seen = 0;
  #pruned = 0;

  /** @param sparsity 0 ≤ sparsity < 1 */
  private readonly sparsity: number;

  constructor(sparsity: number) {
    this.sparsity = sparsity;
  }

  /** Returns how many entries of the next block to prune, including the `forced` ones, which must be pruned. */
  take(entries: number, forced: number): number {
    this.#seen += entries;
    const due = Math.round(this.sparsity * this.#seen) - this.#pruned;
    const count = Math.min(entries, Math.max(forced, due));
    this.#pruned += count;
    return count;
  }

  /** The number of entries to prune in all blocks so far. */
  get pruned(): number {
    return this.#pruned;
  }
}
