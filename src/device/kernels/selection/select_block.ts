/**
 * The selection of `select.ts` in four dispatches, for scores that are all in one block. The digits
 * of the threshold have 11, 11 and 10 bits. `updateBlock` of `update_block.ts` computes the keys and counts their first
 * digits. `refineHistogram`, which runs twice, finds one digit of the threshold and counts the next digits.
 * `finishSelection` finds the last digit, and counts and ranks the ties if not all of them are chosen.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { below, words } from "../kernel_case.ts";
import { KEYS_PER_INVOCATION, RADIX_BINS } from "./select.ts";
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import digits from "../../../../shaders/shared/digits.wgsl" with { type: "text" };
import own from "../../../../shaders/select_block.wgsl" with { type: "text" };

const code = linear + shared + digits + own;

/**
 * The u32 elements of the buffer `digits`: one histogram of 2048 bins for each of three levels, and then two elements
 * for each of the searches after levels 0 and 1. The two are the digits of the threshold that are found, and the number
 * of entries to choose among the keys that begin with them. All are 0 before the first selection. `finishSelection`
 * clears the histograms.
 */
export const DIGITS_LENGTH = 3 * 2048 + 4;

/**
 * Finds the digit of the threshold at level − 1 from its histogram in `digits`, where `level` is 1 or 2, and stores the
 * state of the search in `digits`. At level 1, the selection is of `k` entries. Then adds to the histogram of `level`
 * the digits of the keys that begin with the digits that are known.
 */
export const refineHistogram = defineKernel({
  name: "refine_histogram",
  bindings: { keys: "read", digits: "read_write" },
  params: u32("count", "level", "k"),
  shader: { code, grid: (p) => linearGrid(p.count, RADIX_BINS * KEYS_PER_INVOCATION) },
  cases: () => [
    ...[[1, 0], [1, 15_000], [2, 0], [2, 11_000]].map(([level, k]) => ({
      feature: `digit ${level}, k = ${k}`,
      params: { count: 9001, level, k: level === 1 ? k : 7 },
      buffers: () => ({
        keys: coarseDigits(9010, 236),
        digits: searched(237 + level, [DIGITS[0], k], [5, 6]),
      }),
    })),
    {
      // The digit of the threshold is in the last bin of an invocation, and the keys have all digits at level 1.
      feature: "digit 1, last bin",
      params: { count: 9001, level: 1, k: 2 },
      buffers: () => {
        const digits = new Uint32Array(DIGITS_LENGTH);
        digits[7] = 3;
        return { keys: words(9010, 244).map((word) => (7 << 21 | word >>> 11) >>> 0), digits };
      },
    },
  ],
});

/**
 * Finds the threshold from the histogram of level 2, writes `selection` for the keys, (rows, cols), as `rankTies` does,
 * and clears the histograms. If all ties are chosen, selection[0] is 1 more than the threshold, and the rest is 0.
 */
export const finishSelection = defineKernel({
  name: "finish_selection",
  bindings: { keys: "read", digits: "read_write", selection: "read_write" },
  params: u32("rows", "cols"),
  shader: { code, grid: () => [1, 1, 1] },
  cases: () => [
    {
      feature: "last bin",
      params: { rows: 600, cols: 33 },
      buffers: () => {
        const digits = new Uint32Array(DIGITS_LENGTH), threshold = DIGITS[1] | 47;
        digits[2 * 2048 + 47] = 3;
        digits.set([DIGITS[0], 9, DIGITS[1], 2], 3 * 2048);
        const keys = coarseDigits(600 * 33 + 7, 245).map((key, i) => i % 999 === 5 ? threshold : key);
        return { keys, digits, selection: words(606, 246) };
      },
    },
    // A bin of the last level has up to 19 keys. Among 2_000 entries some ties are chosen, and a sum of bins takes all.
    ...["no entries", "some ties", "all ties"].map((feature, i) => ({
      feature,
      params: { rows: 600, cols: 33 },
      buffers: () => {
        const digits = searched(241, [5, 6], [DIGITS[1], 0]), last = 2 * 2048;
        digits.set([9, 4, 700], last);
        digits[3 * 2048 + 3] = [0, 313, 713][i];
        return { keys: coarseDigits(600 * 33 + 7, 242), digits, selection: words(606, 243) };
      },
    })),
  ],
});

/** Keys with few different digits of 11, 11 and 10 bits, and the digits of one of them. */
const COARSE_DIGITS = 0x00601803, DIGITS = [0x00400000, 0x00401000, 0x00401002];
const coarseDigits = (count: number, seed: number) =>
  words(count, seed).map((word) => (word & COARSE_DIGITS) >>> 0);

/** Histograms of three levels, and the searches (digits, entries to choose) after the levels 0 and 1. */
const searched = (seed: number, first: readonly number[], second: readonly number[]) =>
  below(20, DIGITS_LENGTH, seed).map((value, i) =>
    i < 3 * 2048 ? value : [...first, ...second][i - 3 * 2048]
  );
