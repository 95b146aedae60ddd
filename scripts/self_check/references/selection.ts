/** References of the kernels that choose which entries are pruned. */

import { referenceSelection } from "../../../tests/reference/selection.ts";
import { bitOf, type Contents, eachElement, floatBits, type Reference, setBit } from "./reference.ts";

type Params = Readonly<Record<string, number>>;

/** The byte `level` of a key. Level 0 is the most significant byte. */
const byteOf = (key: number, level: number) => (key >>> (24 - 8 * level)) & 255;

/** Adds the bytes at `level` of the keys that begin with the bytes of `prefix` to a histogram. */
function addToHistogram(
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
function scoreOf({ x, scale }: Contents, p: Params, r: number, c: number): number {
  return Math.abs(Math.fround(x[r * p.ld + c] * scale[(p.first ?? 0) + c]));
}

function isForced({ forced }: Contents, p: Params, r: number, c: number): boolean {
  return p.has_forced === 1 && bitOf(forced, p.words, (p.row0 ?? 0) + r, (p.first ?? 0) + c) === 1;
}

/** The keys of row r of a tile. */
function keysOf(buffers: Contents, p: Params, r: number): number[] {
  return Array.from(
    { length: p.cols },
    (_, c) => isForced(buffers, p, r, c) ? 0 : floatBits(scoreOf(buffers, p, r, c)) + 1,
  );
}

/** The values of the lowest bit of the digits of 11, 11 and 10 bits. */
const DIGIT_PLACES = [2 ** 21, 2 ** 10, 1];

/** Finds the digit of the threshold at `level`, as `finish_selection` and `refine_histogram` do. */
function searchDigits(digits: Contents[string], level: number, known: number, wanted: number) {
  if (wanted === 0) return { threshold: known, wanted: 0, ties: 0 };
  let digit = 0, smaller = 0;
  while (smaller + digits[2048 * level + digit] < wanted) smaller += digits[2048 * level + digit++];
  return {
    threshold: known + digit * DIGIT_PLACES[level],
    wanted: wanted - smaller,
    ties: digits[2048 * level + digit],
  };
}

export const SELECTION_REFERENCES: Readonly<Record<string, Reference>> = {
  score_keys(buffers, p) {
    const { work, scale, forced, keys } = buffers;
    for (let r = 0; r < p.rows; r++) {
      keysOf({ x: work, scale, forced }, p, r).forEach((key, c) => keys[r * p.cols + c] = key);
    }
  },
  key_histogram: ({ keys, selection, histogram }, p) =>
    addToHistogram(histogram, [...keys.subarray(0, p.count)], selection[0], p.level),
  select_digit({ histogram, selection }, p) {
    if (p.level === 0) selection.set([0, p.k]);
    let digit = 0, smaller = 0;
    while (smaller + histogram[digit] < selection[1]) smaller += histogram[digit++];
    selection[0] += digit * 2 ** (24 - 8 * p.level);
    selection[1] -= smaller;
    histogram.fill(0);
  },
  count_ties({ keys, selection }, p) {
    for (let r = 0; r < p.rows; r++) {
      const ties = keys.subarray(r * p.cols, (r + 1) * p.cols).filter((key) => key === selection[0]).length;
      selection[2 + r] = ties + (p.accumulate ? selection[2 + r] : 0);
    }
  },
  rank_ties({ selection }, p) {
    let before = 0;
    for (let r = 0; r < p.rows; r++) {
      const ties = selection[2 + r];
      selection[2 + r] = Math.max(0, Math.min(ties, selection[1] - before));
      before += ties;
    }
  },
  update_block({ a, u, w, scale, forced, work, keys, digits }, p) {
    for (let r = 0; r < p.rows; r++) {
      const row = p.row0 + r;
      for (let c = 0; c < p.cols; c++) {
        let sum = w[p.w_offset + r * p.ldw + c];
        for (let i = 0; i < p.depth; i++) {
          sum += a[p.a_offset + r * p.lda + i] * u[p.u_offset + i * p.ldu + c];
        }
        work[row * p.ldwork + c] = sum;
      }
      const operands = { x: work.subarray(p.row0 * p.ldwork), scale, forced };
      keysOf(operands, { ...p, ld: p.ldwork }, r).forEach((key, c) => {
        keys[row * p.cols + c] = key;
        digits[key >>> 21]++;
      });
    }
  },
  refine_histogram({ keys, digits }, p) {
    const earlier = 3 * 2048 + 2 * (p.level - 2);
    const [known, wanted] = p.level === 1 ? [0, p.k] : digits.subarray(earlier, earlier + 2);
    const found = searchDigits(digits, p.level - 1, known, wanted);
    digits.set([found.threshold, found.wanted], 3 * 2048 + 2 * (p.level - 1));
    const place = DIGIT_PLACES[p.level - 1];
    for (const key of keys.subarray(0, p.count)) {
      if (Math.floor(key / place) !== Math.floor(found.threshold / place)) continue;
      digits[2048 * p.level + Math.floor(key % place / DIGIT_PLACES[p.level])]++;
    }
  },
  finish_selection({ keys, digits, selection }, p) {
    const { threshold, wanted, ties } = searchDigits(digits, 2, digits[3 * 2048 + 2], digits[3 * 2048 + 3]);
    digits.fill(0, 0, 3 * 2048);
    const isRanked = wanted < ties;
    selection.set([isRanked || ties === 0 ? threshold : threshold + 1, isRanked ? wanted : 0]);
    let remaining = isRanked ? wanted : 0;
    for (let r = 0; r < p.rows; r++) {
      const inRow = keys.subarray(r * p.cols, (r + 1) * p.cols).filter((key) => key === threshold).length;
      remaining -= selection[2 + r] = Math.min(remaining, inRow);
    }
  },
  score_histogram(buffers, p) {
    const { selection, histogram } = buffers;
    for (let r = 0; r < p.rows; r++) addToHistogram(histogram, keysOf(buffers, p, r), selection[0], p.level);
  },
  count_score_ties(buffers, p) {
    const { selection } = buffers;
    for (let r = 0; r < p.rows; r++) {
      selection[2 + p.row0 + r] += keysOf(buffers, p, r).filter((key) => key === selection[0]).length;
    }
  },
  choose_entries(buffers, p) {
    const { selection, mask } = buffers;
    for (let r = 0; r < p.rows; r++) {
      keysOf(buffers, p, r).forEach((key, c) => {
        const isTie = key === selection[0] && selection[2 + p.row0 + r] > 0;
        if (isTie) selection[2 + p.row0 + r]--;
        if (key >= selection[0] && !isTie) setBit(mask, p.words, p.row0 + r, p.first + c, true);
      });
    }
  },
  choose_in_groups(buffers, p) {
    for (let r = 0; r < p.rows; r++) {
      for (let start = 0; start < p.cols; start += p.group) {
        const size = Math.min(p.group, p.cols - start);
        const flags = Array.from({ length: size }, (_, i) => isForced(buffers, p, r, start + i));
        const scores = flags.map((_, i) => scoreOf(buffers, p, r, start + i));
        const count = Math.max(size - Math.ceil(p.keep * size / p.group), flags.filter(Boolean).length);
        referenceSelection(scores, count, (i) => flags[i]).forEach((isPruned, i) => {
          if (!isPruned) setBit(buffers.mask, p.words, p.row0 + r, p.first + start + i, true);
        });
      }
    }
  },
  choose_in_rows(buffers, p) {
    for (let r = 0; r < p.rows; r++) {
      const flags = Array.from({ length: p.cols }, (_, c) => isForced(buffers, p, r, c));
      const scores = flags.map((_, c) => scoreOf(buffers, p, r, c));
      const count = Math.max(buffers.counts[p.row0 + r], flags.filter(Boolean).length);
      const pruned = referenceSelection(scores, count, (c) => flags[c]);
      eachElement(
        1,
        32 * p.words,
        (_, c) => setBit(buffers.mask, p.words, p.row0 + r, c, c < p.cols && !pruned[c]),
      );
    }
  },
};
