/** Ranges of row or column indices, and how a matrix's columns are split into tiles, panels and blocks (`blocking.ts`). */

/** The indices i with start ≤ i < end. */
export interface IndexRange {
  readonly start: number;
  readonly end: number;
}

/** Splits `whole` into consecutive ranges of `step` indices. The last range may be shorter. */
export function* splitRange(whole: IndexRange, step: number): Generator<IndexRange> {
  for (let start = whole.start; start < whole.end; start += step) {
    yield { start, end: Math.min(start + step, whole.end) };
  }
}

/** Splits `cols` columns into panels of at most `width` columns. No panel extends over two tiles of `edge` columns. */
export function* splitIntoPanels(cols: number, edge: number, width: number): Generator<IndexRange> {
  for (const tile of splitRange({ start: 0, end: cols }, edge)) yield* splitRange(tile, width);
}
