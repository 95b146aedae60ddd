/**
 * Exact selection of the entries with the k smallest scores, by radix select on the device. Each score has a u32 key with
 * the same order: 0 if the entry is forced, and otherwise bits(score) + 1. The threshold, which is the k-th smallest key,
 * is found in four passes, one for each byte (digit) from the most significant to the least. In each pass,
 * `scoreHistogram` of `choose.ts` counts the keys by that digit, and `selectDigit` stores the digit of the threshold.
 * Entries whose key is the threshold are called ties. They are chosen in row-major order until k entries are chosen in
 * all: `countScoreTies` counts the ties of each row, and `rankTies` computes how many of them are chosen.
 * `select_block.ts` has other kernels for scores that are all in one block.
 *
 * The buffer `selection` is u32 with 2 + rows elements:
 * - selection[0] has the digits of the threshold that are found so far. The others are 0.
 * - selection[1] counts the entries to choose among the keys that begin with these digits (finally, among the ties).
 * - selection[2 + r] is first the number of ties in row r, and finally the number of them to choose.
 */

import { defineKernel, u32 } from "../kernel.ts";
import { below } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import own from "../../../../shaders/select.wgsl" with { type: "text" };

/** The bins of a histogram, one for each value of a byte. */
export const RADIX_BINS = 256;
export const RADIX_LEVELS = 4;

/** As in the shaders. */
export const KEYS_PER_INVOCATION = 16;

const code = shared + own;

/**
 * Finds the digit of the threshold at `level`, and sets `histogram` to 0. At level 0, selection[0] first becomes 0 and
 * selection[1] becomes `k`. The digit is the smallest d with histogram[0] + … + histogram[d] ≥ selection[1]. It becomes
 * byte `level` of selection[0], and the counts of smaller digits are subtracted from selection[1].
 */
export const selectDigit = defineKernel({
  name: "select_digit",
  bindings: { histogram: "read_write", selection: "read_write" },
  params: u32("level", "k"),
  shader: { code, grid: () => [1, 1, 1] },
  cases: () =>
    [[0, 500], [0, 0], [1, 7], [2, 7], [3, 7]].map(([level, k]) => ({
      feature: `byte ${level}, k = ${k}`,
      params: { level, k },
      buffers: () => ({
        histogram: below(20, 256, 210 + level),
        selection: Uint32Array.of(THRESHOLD & PREFIXES[level], 300 * level + 411, 9),
      }),
    })),
});

/**
 * For r < rows: selection[2 + r] ← clamp(selection[1] − p, 0, selection[2 + r]), where p is the number of ties in all
 * rows before r. The result is the number of ties of row r to choose.
 */
export const rankTies = defineKernel({
  name: "rank_ties",
  bindings: { selection: "read_write" },
  params: u32("rows"),
  shader: { code, grid: () => [1, 1, 1] },
  cases: () =>
    [0, 500, 1500, 4000].map((wanted) => ({ feature: `${wanted} ties`, ...rankTiesCase(600, wanted) })),
});

/** The feature of a case with or without forced entries. */
export const forcedFeature = (has_forced: number) => has_forced ? "forced entries" : "no forced entries";

/** A threshold, and masks that select its first bytes. */
const THRESHOLD = 0x81028100, PREFIXES = [0, 0xff000000, 0xffff0000, 0xffffff00];

/** A case with up to six ties per row. `wanted` of them are chosen. */
export function rankTiesCase(rows: number, wanted: number) {
  return {
    params: { rows },
    buffers: () => ({ selection: below(7, rows + 6, 217).map((value, i) => i === 1 ? wanted : value) }),
  };
}
