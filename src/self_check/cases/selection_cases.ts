/** The cases of the kernels that choose which entries are pruned. */

import {
  chooseEntries,
  chooseInGroups,
  countScoreTies,
  scoreHistogram,
} from "../../kernels/selection/choose.ts";
import { chooseInRows } from "../../kernels/selection/choose_in_rows.ts";
import { countTies, keyHistogram, rankTies, scoreKeys, selectDigit } from "../../kernels/selection/select.ts";
import { DIGITS_LENGTH, finishSelection, refineHistogram } from "../../kernels/selection/select_block.ts";
import { updateBlock } from "../../kernels/selection/update_block.ts";
import { defineCase, type KernelCase } from "../kernel_case.ts";
import { below, filled, positive, signed, words } from "../values.ts";

/** The u32 key of a score (`scoreKeys`). */
export function keyOf(score: number): number {
  return new Uint32Array(Float32Array.of(score).buffer)[0] + 1;
}

/** Returns multiples of 1/8, so that many scores are equal. */
function coarse(count: number, seed: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => Math.round(value * 8) / 8);
}

const forcedFeature = (has_forced: number) => has_forced ? "forced entries" : "no forced entries";

/** Keys of which each byte has one of eight values, and a threshold with such bytes. */
const COARSE_BYTES = 0x83838383, THRESHOLD = 0x81028100;
const coarseKeys = (count: number, seed: number) =>
  words(count, seed).map((word) => (word & COARSE_BYTES) >>> 0);
const PREFIXES = [0, 0xff000000, 0xffff0000, 0xffffff00];

/** A tile of 2101 columns at row 3 and column 40 of a matrix. It has more than one chunk of `choose_entries`. */
const TILE = { rows: 5, cols: 2101, ld: 2105, row0: 3, first: 40, words: 68 };
const tile = () => ({
  x: coarse(TILE.rows * TILE.ld, 201),
  scale: Float32Array.from(below(3, 2141, 202), (value) => [0.5, 1, 2][value]),
  forced: words(8 * 68, 203).map((word) => word & 0x10010101),
});

/** How many ties `choose_entries` prunes in each row. */
const tiesToChoose = () => Uint32Array.of(keyOf(0.5), 9, 7, 7, 7, 0, 1, 40, 150, 5000);

/** Keys with few different digits of 11, 11 and 10 bits, and the digits of one of them. */
const COARSE_DIGITS = 0x00601803, DIGITS = [0x00400000, 0x00401000, 0x00401002];
const coarseDigits = (count: number, seed: number) =>
  words(count, seed).map((word) => (word & COARSE_DIGITS) >>> 0);

/** Histograms of three levels, and the searches (digits, entries to choose) after the levels 0 and 1. */
const searched = (seed: number, first: readonly number[], second: readonly number[]) =>
  below(20, DIGITS_LENGTH, seed).map((value, i) =>
    i < 3 * 2048 ? value : [...first, ...second][i - 3 * 2048]
  );

/**
 * A block of (90, 70) at row 3 and column 40 of a matrix, with more than one patch and more than one slice of
 * `update_block`. All sums are exact, because they are of multiples of 1/64, so the bits of all outputs are known. U
 * is upper triangular.
 */
function updateOfBlock(feature: string, has_forced: number, depth: number) {
  const rows = 90, cols = 70, row0 = 3, unaligned = has_forced;
  const lda = 72 + unaligned, ldu = 76 + unaligned, offset = 4 + unaligned, ldwork = 75;
  const params = {
    rows,
    cols,
    depth,
    row0,
    a_offset: offset,
    lda,
    u_offset: offset,
    ldu,
    w_offset: 2,
    ldw: 73,
  };
  return {
    feature,
    params: { ...params, ldwork, first: 40, words: 4, has_forced },
    buffers: () => ({
      a: coarse(offset + rows * lda + 4, 231),
      u: coarse(offset + cols * ldu + 4, 247).map((value, i) => {
        const at = i - offset;
        return at >= 0 && Math.floor(at / ldu) > at % ldu ? 0 : value;
      }),
      w: coarse(2 + rows * 73, 248).map((value) => value || 0.125), // a sum may turn −0 into 0
      scale: positive(120, 232).map((value) => 4 * value),
      forced: words((row0 + rows) * 4, 233),
      work: filled((row0 + rows + 1) * ldwork),
      keys: words((row0 + rows) * cols + 5, 234),
      digits: below(20, DIGITS_LENGTH, 235),
    }),
  };
}

export const SELECTION_CASES: readonly KernelCase[] = [
  ...[0, 1].map((has_forced) =>
    defineCase(scoreKeys, {
      feature: forcedFeature(has_forced),
      params: { rows: 19, cols: 70, ld: 75, first: 40, words: 4, has_forced },
      buffers: () => ({
        work: signed(19 * 75, 204),
        scale: positive(120, 205).map((value) => 4 * value),
        forced: words(19 * 4, 206),
        keys: words(19 * 70 + 5, 207),
      }),
    })
  ),
  ...([["aligned rows", 0, 70], ["unaligned rows, forced entries", 1, 70], [
    "no earlier blocks",
    0,
    0,
  ]] as const).map(
    ([feature, has_forced, depth]) => defineCase(updateBlock, updateOfBlock(feature, has_forced, depth)),
  ),
  ...[[1, 0], [1, 15_000], [2, 0], [2, 11_000]].map(([level, k]) =>
    defineCase(refineHistogram, {
      feature: `digit ${level}, k = ${k}`,
      params: { count: 9001, level, k: level === 1 ? k : 7 },
      buffers: () => ({
        keys: coarseDigits(9010, 236),
        digits: searched(237 + level, [DIGITS[0], k], [5, 6]),
      }),
    })
  ),
  // The digit of the threshold is in the last bin of an invocation, and the keys have all digits at level 1.
  defineCase(refineHistogram, {
    feature: "digit 1, last bin",
    params: { count: 9001, level: 1, k: 2 },
    buffers: () => {
      const digits = new Uint32Array(DIGITS_LENGTH);
      digits[7] = 3;
      return { keys: words(9010, 244).map((word) => (7 << 21 | word >>> 11) >>> 0), digits };
    },
  }),
  defineCase(finishSelection, {
    feature: "last bin",
    params: { rows: 600, cols: 33 },
    buffers: () => {
      const digits = new Uint32Array(DIGITS_LENGTH), threshold = DIGITS[1] | 47;
      digits[2 * 2048 + 47] = 3;
      digits.set([DIGITS[0], 9, DIGITS[1], 2], 3 * 2048);
      const keys = coarseDigits(600 * 33 + 7, 245).map((key, i) => i % 999 === 5 ? threshold : key);
      return { keys, digits, selection: words(606, 246) };
    },
  }),
  // The histogram of the last level has up to 19 keys in each bin. With 2_000 entries some of the ties are
  // chosen, and with the sum of whole bins all ties.
  ...["no entries", "some ties", "all ties"].map((feature, i) =>
    defineCase(finishSelection, {
      feature,
      params: { rows: 600, cols: 33 },
      buffers: () => {
        const digits = searched(241, [5, 6], [DIGITS[1], 0]), last = 2 * 2048;
        digits.set([9, 4, 700], last);
        digits[3 * 2048 + 3] = [0, 313, 713][i];
        return { keys: coarseDigits(600 * 33 + 7, 242), digits, selection: words(606, 243) };
      },
    })
  ),
  ...[0, 1, 2, 3].map((level) =>
    defineCase(keyHistogram, {
      feature: `byte ${level}`,
      params: { count: 9001, level },
      buffers: () => ({
        keys: coarseKeys(9010, 208),
        selection: Uint32Array.of((THRESHOLD & PREFIXES[level]) >>> 0, 9, 9),
        histogram: below(20, 256, 209),
      }),
    })
  ),
  ...[[0, 500], [0, 0], [1, 7], [2, 7], [3, 7]].map(([level, k]) =>
    defineCase(selectDigit, {
      feature: `byte ${level}, k = ${k}`,
      params: { level, k },
      buffers: () => ({
        histogram: below(20, 256, 210 + level),
        selection: Uint32Array.of(THRESHOLD & PREFIXES[level], 300 * level + 411, 9),
      }),
    })
  ),
  ...[0, 1].map((accumulate) =>
    defineCase(countTies, {
      feature: accumulate ? "added" : "stored",
      params: { rows: 150, cols: 33, accumulate },
      buffers: () => ({
        keys: below(4, 150 * 33 + 9, 215),
        selection: below(9, 156, 216).map((value, i) => i === 0 ? 2 : value),
      }),
    })
  ),
  ...[0, 500, 1500, 4000].map((wanted) =>
    defineCase(rankTies, {
      feature: `${wanted} ties`,
      params: { rows: 600 },
      buffers: () => ({ selection: below(7, 606, 217).map((value, i) => i === 1 ? wanted : value) }),
    })
  ),
  ...[[0, 0], [1, 0], [0, 1], [0, 2], [0, 3], [1, 3]].map(([has_forced, level]) =>
    defineCase(scoreHistogram, {
      feature: `byte ${level}, ${forcedFeature(has_forced)}`,
      params: { ...TILE, has_forced, level },
      buffers: () => ({
        ...tile(),
        // With the prefix 0, the keys of forced entries and of zeros count.
        selection: Uint32Array.of(has_forced ? 0 : keyOf(0.5) & PREFIXES[level], 9, 9),
        histogram: below(20, 256, 218),
      }),
    })
  ),
  ...[0, 1].flatMap((has_forced) => [
    defineCase(countScoreTies, {
      feature: forcedFeature(has_forced),
      params: { ...TILE, has_forced },
      buffers: () => ({ ...tile(), selection: tiesToChoose() }),
    }),
    defineCase(countScoreTies, {
      feature: `${forcedFeature(has_forced)}, the lowest key`,
      params: { ...TILE, has_forced },
      // The key of a forced entry, or of the score 0.
      buffers: () => ({
        ...tile(),
        selection: tiesToChoose().map((value, i) => i === 0 ? 1 - has_forced : value),
      }),
    }),
    defineCase(chooseEntries, {
      feature: forcedFeature(has_forced),
      params: { ...TILE, has_forced },
      buffers: () => ({ ...tile(), selection: tiesToChoose(), mask: new Uint32Array(8 * 68) }),
    }),
  ]),
  defineCase(chooseEntries, {
    feature: "all scores equal",
    params: { ...TILE, cols: 300, ld: 300, words: 11, has_forced: 0 },
    buffers: () => ({
      ...tile(),
      x: filled(5 * 300, 0.5),
      scale: filled(340, 1),
      selection: tiesToChoose(),
      mask: new Uint32Array(8 * 11),
    }),
  }),
  ...[[2, 4, 0], [3, 5, 1], [40, 100, 1]].map(([keep, group, has_forced]) =>
    defineCase(chooseInGroups, {
      feature: `${keep}:${group}, ${forcedFeature(has_forced)}`,
      params: { ...TILE, cols: 271, ld: 280, words: 10, keep, group, has_forced },
      buffers: () => {
        const { scale } = tile();
        return { x: coarse(5 * 280, 219), scale, forced: words(80, 220), mask: new Uint32Array(80) };
      },
    })
  ),
  ...[0, 1].map((has_forced) =>
    defineCase(chooseInRows, {
      feature: forcedFeature(has_forced),
      params: { rows: 7, cols: 9001, ld: 9005, row0: 2, words: 282, has_forced },
      buffers: () => ({
        x: signed(7 * 9005, 221).map((value, i) => i % 3 ? value : Math.round(value * 8) / 8),
        scale: Float32Array.from(below(3, 9001, 222), (value) => [0.5, 1, 2][value]),
        forced: words(9 * 282, 223).map((word) => word & 0x10010101),
        counts: Uint32Array.of(5, 5, 0, 9001, 4500, 2000, 100, 8000, 6001),
        mask: words(9 * 282, 224),
      }),
    })
  ),
];
