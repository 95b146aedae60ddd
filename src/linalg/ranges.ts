/** Index ranges: how a matrix's columns are cut into tiles, panels and blocks. */

/** The indices start ≤ i < end. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Cuts `whole` into ranges of `step`, the last one possibly shorter. */
export function* ranges(whole: Range, step: number): Generator<Range> {
  for (let start = whole.start; start < whole.end; start += step) {
    yield { start, end: Math.min(start + step, whole.end) };
  }
}

/** Cuts `cols` columns into panels of at most `width` that never straddle two tiles of `edge`. */
export function* panels(cols: number, edge: number, width: number): Generator<Range> {
  for (const tile of ranges({ start: 0, end: cols }, edge)) yield* ranges(tile, width);
}
