/**
 * The rule by which Pare selects the entries to prune, implemented by sorting. It selects the k entries with the smallest scores.
 * Forced entries come before all others, and of entries with equal scores the one with the lower index comes first. This rule
 * differs from the published SparseGPT code, which compares scores with a threshold.
 */

import { bitOf, type Contents, floatBits, type Params } from "./kernel_reference.ts";

/** Returns an array with 1 for every selected entry and 0 for the others. Forced entries count among the k selected entries. */
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

/** The byte `level` of a key. Level 0 is the most significant byte. */
const byteOf = (key: number, level: number) => (key >>> (24 - 8 * level)) & 255;

/** Adds the bytes at `level` of the keys that begin with the bytes of `prefix` to a histogram. */
export function addToHistogram(
  histogram: Contents[string],
  keys: readonly number[],
  prefix: number,
  level: number,
): void {
  for (const key of keys) {
    const hasPrefix = Array.from({ length: level }, (_, i) => byteOf(key, i) === byteOf(prefix, i)).every(
      Boolean,
    );
    if (hasPrefix) histogram[byteOf(key, level)]++;
  }
}

/** The score of an element of a tile, rounded to f32. */
export function scoreOf({ x, scale }: Contents, p: Params, r: number, c: number): number {
  return Math.abs(Math.fround(x[r * p.ld + c] * scale[(p.first ?? 0) + c]));
}

export function isForced({ forced }: Contents, p: Params, r: number, c: number): boolean {
  return p.has_forced === 1 && bitOf(forced, p.words, (p.row0 ?? 0) + r, (p.first ?? 0) + c) === 1;
}

/** The keys of row r of a tile. */
export function keysOf(buffers: Contents, p: Params, r: number): number[] {
  return Array.from(
    { length: p.cols },
    (_, c) => isForced(buffers, p, r, c) ? 0 : floatBits(scoreOf(buffers, p, r, c)) + 1,
  );
}
