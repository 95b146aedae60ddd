/**
 * Exact selection of the entries with the k smallest scores, by radix select on the device. The scores come one block of columns at a time.
 *
 * 1. `scoreKeys` turns each score into a u32 key with the same order.
 * 2. The k-th smallest key, the threshold, is found in four passes, one for each byte of a key from the most significant to the least. In
 *    each pass, `keyHistogram` counts the keys by that byte, the digit, and `selectDigit` fixes the threshold's digit.
 * 3. Several entries may have the threshold as their key. These ties are chosen in row-major order until k entries are chosen in all.
 *    `countTies` counts them for each row, and `rankTies` computes how many of each row are chosen.
 *
 * The buffer `selection` is u32 with 2 + rows elements. [0] is the threshold, as far as its digits are fixed. [1] is the number of entries to
 * choose among those whose keys have the same digits, which after the last pass is the number of ties to choose. [2 + r] is first the number
 * of ties in row r, and then how many of them to choose.
 */

import { defineKernel, linearGrid } from "./kernel.ts";
import { loop, sequence } from "./loop_count.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/select.wgsl" with { type: "text" };

/** Bins of the histogram of a pass: one for each value of a byte. */
export const RADIX_BINS = 256;
/** Passes, one for each byte of a key. */
export const RADIX_LEVELS = 4;

/** The constant of the same name in shaders/select.wgsl: keys that an invocation of `key_histogram` counts. */
const KEYS_PER_INVOCATION = 16;
/** The constant of the same name in shaders/select.wgsl: rows that a workgroup of `count_ties` counts. */
const COUNT_ROWS = 64;
/** The loop of `inclusive_scan` in shaders/select.wgsl. */
const SCAN = loop(Math.log2(RADIX_BINS));

/**
 * For r < rows and c < cols: keys[r·cols + c] ← 0 if the entry is forced, and otherwise bits(|work[r·ld + c]·scale[first + c]|) + 1.
 * Non-negative floats have the same order as their bits.
 *
 * `scale`, (columns of the matrix) f32, has R[j,j] for each column j. The score |w·R[j,j]| has the same order as the published method's
 * (w·R[j,j])², and does not underflow as early. `forced` has `words` u32 words per row of the matrix. Bit c%32 of word c/32 is set if the entry
 * in column c of the matrix must be pruned. It is read only if `has_forced` = 1.
 */
export const scoreKeys = defineKernel({
  name: "score_keys",
  bindings: { work: "read", scale: "read", forced: "read", keys: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32", first: "u32", words: "u32", has_forced: "u32" },
  shader: { code: shared + code, entryPoint: "score_keys", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});

/**
 * For each digit d: histogram[d] += the number of the first `count` keys whose byte at `level` is d and whose more significant bytes equal
 * those of selection[0]. Level 0 is the most significant byte, for which every key counts.
 */
export const keyHistogram = defineKernel({
  name: "key_histogram",
  bindings: { keys: "read", selection: "read", histogram: "read_write" },
  params: { count: "u32", level: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "key_histogram",
    grid: (p) => linearGrid(p.count, RADIX_BINS * KEYS_PER_INVOCATION),
    loops: () => loop(KEYS_PER_INVOCATION),
  },
});

/**
 * Fixes the digit of the threshold at `level`, and sets `histogram` to 0. At level 0, selection[0] first becomes 0 and selection[1] becomes `k`.
 * The digit is the smallest d for which histogram[0] + … + histogram[d] ≥ selection[1]. It is stored in byte `level` of selection[0], and the
 * counts of all smaller digits are subtracted from selection[1]. With k = 0 both stay 0, so nothing is chosen.
 */
export const selectDigit = defineKernel({
  name: "select_digit",
  bindings: { histogram: "read_write", selection: "read_write" },
  params: { level: "u32", k: "u32" },
  shader: { code: shared + code, entryPoint: "select_digit", grid: () => [1, 1, 1], loops: () => SCAN },
});

/**
 * For r < rows: selection[2 + r] ← the number of keys[r·cols + c], with c < cols, that equal selection[0]. With `accumulate` = 1 the number is
 * added to selection[2 + r].
 */
export const countTies = defineKernel({
  name: "count_ties",
  bindings: { keys: "read", selection: "read_write" },
  params: { rows: "u32", cols: "u32", accumulate: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "count_ties",
    grid: (p) => linearGrid(p.rows, COUNT_ROWS),
    loops: (p) => loop(Math.ceil(Math.min(p.rows, COUNT_ROWS) * p.cols / COUNT_ROWS)),
  },
});

/**
 * For r < rows: selection[2 + r] ← clamp(selection[1] − p, 0, selection[2 + r]), where p is the number of ties in all rows before r. The result
 * is the number of ties of row r to choose.
 */
export const rankTies = defineKernel({
  name: "rank_ties",
  bindings: { selection: "read_write" },
  params: { rows: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "rank_ties",
    grid: () => [1, 1, 1],
    loops: (p) => {
      const rows = loop(Math.ceil(p.rows / RADIX_BINS));
      return sequence(rows, SCAN, rows);
    },
  },
});
