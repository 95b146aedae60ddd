/**
 * Chooses which entries of each row to keep, by their scores |x·scale|, and writes the mask. The number
 * of pruned entries is given for each row separately, as Wanda needs it (Sun et al., arXiv 2306.11695). The
 * method is the radix select that `select.ts` describes, with a threshold for each row.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import { loop, sequence } from "../loop_count.ts";
import { RADIX_BINS, RADIX_LEVELS } from "./select.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/choose_in_rows.wgsl" with { type: "text" };

/**
 * The number of invocations per workgroup. It must equal the constant of the same name in
 * shaders/choose_in_rows.wgsl.
 */
const LANES = 256;

/**
 * For r < `rows`: prunes the counts[row0 + r] entries with the smallest scores among the `cols` entries of
 * row r. Among equal scores, the entries that come first are pruned. Forced entries count as having the
 * smallest scores. All forced entries are pruned, even if there are more than counts[row0 + r] of them.
 *
 * `x` holds whole rows of a matrix, from row `row0` on. The rows of `x` are `ld` elements apart. The score of
 * element (r, c) is |x[r·ld + c]·scale[c]|. `forced` and `mask` have `words` u32 words per row of the matrix: bit c%32
 * of word (row0 + r)·words + c/32 belongs to column c. `mask` receives 1 where an entry is kept, and 0 elsewhere and in
 * the padding. `forced` has 1 where an entry must be pruned. `forced` is read only if `has_forced` = 1.
 */
export const chooseInRows = defineKernel({
  name: "choose_in_rows",
  bindings: { x: "read", scale: "read", forced: "read", counts: "read", mask: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32", row0: "u32", words: "u32", has_forced: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "choose_in_rows",
    grid: (p) => linearGrid(p.rows, 1),
    loops: (p) => {
      const scan = loop(Math.log2(RADIX_BINS)), words = loop(Math.ceil(p.words / LANES), loop(32));
      return sequence(loop(RADIX_LEVELS, loop(Math.ceil(p.cols / LANES)), scan), words, scan, words);
    },
  },
});
