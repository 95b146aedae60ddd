/**
 * Exact selection of the k smallest scores of a block by radix select, on the device. A score becomes an
 * ordered u32 key; four passes over its bytes, most significant first, narrow down the k-th smallest key; the
 * entries equal to it are then ranked by row, so that exactly k are chosen and ties fall by index.
 *
 * The `selection` buffer (u32, 2 + rows): [0] the threshold key found so far, [1] how many entries equal to it are to be
 * chosen, [2 + r] row r's ties: first how many entries equal the threshold, then how many of them to choose.
 */

import { defineKernel, linearGrid } from "./kernel.ts";
import { loop, sequence } from "./loop_count.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/select.wgsl" with { type: "text" };

/** Bins of one radix pass: one byte of the key. */
export const RADIX_BINS = 256;
/** Passes: the bytes of a key. */
export const RADIX_LEVELS = 4;

/** KEYS_PER_INVOCATION and COUNT_ROWS of shaders/select.wgsl: keys an invocation of `key_histogram` counts, rows a workgroup of `count_ties` counts. */
const KEYS_PER_INVOCATION = 16;
const COUNT_ROWS = 64;
/** The loop of `inclusive_scan`. */
const SCAN = loop(Math.log2(RADIX_BINS));

/**
 * keys[r·cols + c] ← 0 where the entry is forced, else bits(|work[r·ld + c]·scale[first + c]|) + 1, for r < rows,
 * c < cols. Non-negative floats order as their bits, and |w·R_jj| orders as the paper's (w·R_jj)² without its underflow.
 * `scale` is R[j,j] a column. `forced` (u32 bits, `words` a row, bit c%32 of word c/32 of the whole matrix's columns):
 * read only where `has_forced` = 1; a 1 says the entry must be pruned.
 */
export const scoreKeys = defineKernel({
  name: "score_keys",
  bindings: { work: "read", scale: "read", forced: "read", keys: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32", first: "u32", words: "u32", has_forced: "u32" },
  shader: { code: shared + code, entryPoint: "score_keys", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});

/**
 * histogram[d] += the number of keys among `count` whose bytes above `level` equal those of selection[0] and whose byte at
 * `level` (0 = most significant) is d. At level 0 every key counts.
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
 * Narrows selection[0..1] by one byte and clears `histogram`. At level 0 it starts from threshold 0 and remaining = `k`. Picks the
 * smallest digit d whose cumulated count reaches `remaining`, subtracts the counts below d from it and puts d at byte `level`.
 * With k = 0: threshold 0, remaining 0 at every level (nothing is chosen).
 */
export const selectDigit = defineKernel({
  name: "select_digit",
  bindings: { histogram: "read_write", selection: "read_write" },
  params: { level: "u32", k: "u32" },
  shader: { code: shared + code, entryPoint: "select_digit", grid: () => [1, 1, 1], loops: () => SCAN },
});

/** selection[2 + r] ← (accumulate = 1: +=) the number of keys[r·cols + c], c < cols, equal to selection[0], for r < rows. */
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
 * selection[2 + r] ← clamp(selection[1] − p_r, 0, selection[2 + r]), p_r the sum of the rows' ties before r: how many of row r's
 * ties to choose.
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
