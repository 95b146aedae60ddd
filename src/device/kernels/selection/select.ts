/**
 * Exact selection of the entries with the k smallest scores, by radix select on the device, for scores in blocks of
 * columns. `scoreKeys` turns each score into a u32 key with the same order. The threshold, which is the k-th smallest
 * key, is found in four passes, one for each byte (digit) from the most significant to the least. In each pass,
 * `keyHistogram` counts the keys by that digit, and `selectDigit` stores the digit of the threshold. Entries whose key
 * is the threshold are called ties. They are chosen in row-major order until k entries are chosen in all: `countTies`
 * counts the ties of each row, and `rankTies` computes how many of them are chosen. `select_block.ts` has other kernels
 * for scores that are all in one block.
 *
 * The buffer `selection` is u32 with 2 + rows elements:
 * - selection[0] has the digits of the threshold that are found so far. The others are 0.
 * - selection[1] counts the entries to choose among the keys that begin with these digits (finally, among the ties).
 * - selection[2 + r] is first the number of ties in row r, and finally the number of them to choose.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { below, positives, signed, words } from "../kernel_case.ts";
import { loop, sequence } from "../loop_count.ts";
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import own from "../../../../shaders/select.wgsl" with { type: "text" };

/** The bins of a histogram, one for each value of a byte. */
export const RADIX_BINS = 256;
export const RADIX_LEVELS = 4;

/** As in the shaders. */
export const KEYS_PER_INVOCATION = 16;
/** Rows per workgroup of `count_ties`, as in the shader. */
const COUNT_ROWS = 64;
/** The count of the loop of `inclusive_scan` in shaders/shared/select.wgsl. */
export const SCAN = loop(Math.log2(RADIX_BINS));

const code = linear + shared + own;

/**
 * For r < rows and c < cols: keys[r·cols + c] ← 0 if the entry is forced, and otherwise bits(|work[r·ld +
 * c]·scale[first + c]|) + 1. Non-negative floats have the same order as their bits.
 *
 * `scale`, (columns of the matrix) f32, has R[j,j] for each column j, where H = R·Rᵀ is the Hessian. The score
 * |w·R[j,j]| has the same order as (w·R[j,j])², the score in the SparseGPT paper, and does not underflow as early.
 * `forced` marks the entries that must be pruned. It has `words` u32 words per row of the matrix. Bit c%32 of word c/32
 * is set if the entry in column c of the matrix is forced. `forced` is read only if `has_forced` = 1.
 */
export const scoreKeys = defineKernel({
  name: "score_keys",
  bindings: { work: "read", scale: "read", forced: "read", keys: "read_write" },
  params: u32("rows", "cols", "ld", "first", "words", "has_forced"),
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () =>
    [0, 1].map((has_forced) => ({
      feature: forcedFeature(has_forced),
      ...scoreKeysCase(19, 70, 40, has_forced),
    })),
});

/**
 * For each digit d, adds to histogram[d] how many of the first `count` keys have the digit d in their byte `level` and
 * begin with the same more significant bytes as selection[0]. Level 0 is the most significant byte.
 */
export const keyHistogram = defineKernel({
  name: "key_histogram",
  bindings: { keys: "read", selection: "read", histogram: "read_write" },
  params: u32("count", "level"),
  shader: {
    code,
    grid: (p) => linearGrid(p.count, RADIX_BINS * KEYS_PER_INVOCATION),
    loops: () => loop(KEYS_PER_INVOCATION),
  },
  cases: () => [0, 1, 2, 3].map((level) => ({ feature: `byte ${level}`, ...keyHistogramCase(9001, level) })),
});

/**
 * Finds the digit of the threshold at `level`, and sets `histogram` to 0. At level 0, selection[0] first becomes 0 and
 * selection[1] becomes `k`. The digit is the smallest d with histogram[0] + … + histogram[d] ≥ selection[1]. It becomes
 * byte `level` of selection[0], and the counts of smaller digits are subtracted from selection[1].
 */
export const selectDigit = defineKernel({
  name: "select_digit",
  bindings: { histogram: "read_write", selection: "read_write" },
  params: u32("level", "k"),
  shader: { code, grid: () => [1, 1, 1], loops: () => SCAN },
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
 * For r < rows: selection[2 + r] ← the number of keys[r·cols + c], with c < cols, that equal selection[0]. With
 * `accumulate` = 1, the number is added to selection[2 + r] instead.
 */
export const countTies = defineKernel({
  name: "count_ties",
  bindings: { keys: "read", selection: "read_write" },
  params: u32("rows", "cols", "accumulate"),
  shader: {
    code,
    grid: (p) => linearGrid(p.rows, COUNT_ROWS),
    loops: (p) => loop(Math.ceil(Math.min(p.rows, COUNT_ROWS) * p.cols / COUNT_ROWS)),
  },
  cases: () =>
    [0, 1].map((accumulate) => ({
      feature: accumulate ? "added" : "stored",
      ...countTiesCase(150, 33, accumulate),
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
  shader: {
    code,
    grid: () => [1, 1, 1],
    loops: (p) => {
      const rows = loop(Math.ceil(p.rows / RADIX_BINS));
      return sequence(rows, SCAN, rows);
    },
  },
  cases: () =>
    [0, 500, 1500, 4000].map((wanted) => ({ feature: `${wanted} ties`, ...rankTiesCase(600, wanted) })),
});

/** The feature of a case with or without forced entries. */
export const forcedFeature = (has_forced: number) => has_forced ? "forced entries" : "no forced entries";

export function scoreKeysCase(rows: number, cols: number, first: number, has_forced: number) {
  const ld = cols + 5, perRow = Math.ceil((first + cols) / 32);
  return {
    params: { rows, cols, ld, first, words: perRow, has_forced },
    buffers: () => ({
      work: signed(rows * ld, 204),
      scale: positives(first + cols, 205).map((value) => 4 * value),
      forced: words(rows * perRow, 206),
      keys: words(rows * cols + 5, 207),
    }),
  };
}

/** Each byte of the threshold is one of the eight values that the bytes of keys have. Masks select its first bytes. */
const COARSE_BYTES = 0x83838383, THRESHOLD = 0x81028100, PREFIXES = [0, 0xff000000, 0xffff0000, 0xffffff00];

/** A case of `count` keys. Many of them begin with the same bytes as the threshold. */
export function keyHistogramCase(count: number, level: number) {
  return {
    params: { count, level },
    buffers: () => ({
      keys: words(count + 9, 208).map((word) => (word & COARSE_BYTES) >>> 0),
      selection: Uint32Array.of((THRESHOLD & PREFIXES[level]) >>> 0, 9, 9),
      histogram: below(20, 256, 209),
    }),
  };
}

export function countTiesCase(rows: number, cols: number, accumulate: number) {
  return {
    params: { rows, cols, accumulate },
    buffers: () => ({
      keys: below(4, rows * cols + 9, 215),
      selection: below(9, rows + 6, 216).map((value, i) => i === 0 ? 2 : value),
    }),
  };
}

/** A case with up to six ties per row. `wanted` of them are chosen. */
export function rankTiesCase(rows: number, wanted: number) {
  return {
    params: { rows },
    buffers: () => ({ selection: below(7, rows + 6, 217).map((value, i) => i === 1 ? wanted : value) }),
  };
}
