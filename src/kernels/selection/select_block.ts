/**
 * Exact selection like that of `select.ts`, in four dispatches instead of eleven, for a selection whose scores
 * are all in one block. The digits of the threshold have 11, 11 and 10 bits. `updateBlock` of `update_block.ts`
 * computes the keys and counts their first digits. `refineHistogram`, which runs twice, finds one digit of the threshold and counts
 * the next digits. `finishSelection` finds the last digit, and counts and ranks the ties if not all of them are
 * chosen. The keys and the buffer `selection` are those of `select.ts`.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import { loop, sequence } from "../loop_count.ts";
import { KEYS_PER_INVOCATION, RADIX_BINS, SCAN } from "./select.ts";
import linear from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import shared from "../../../shaders/shared/select.wgsl" with { type: "text" };
import digits from "../../../shaders/shared/digits.wgsl" with { type: "text" };
import own from "../../../shaders/select_block.wgsl" with { type: "text" };

const code = linear + shared + digits + own;

/**
 * The elements of the buffer `digits` of the kernels below, u32. It has one histogram of 2048 bins for each of
 * three levels, and then four elements for the searches after levels 0 and 1: for each the digits of the
 * threshold that are known, and the number of entries to choose among the keys that begin with these digits.
 * All elements are 0 before the first selection. `finishSelection` sets the histograms to 0 again.
 */
export const DIGITS_LENGTH = 3 * 2048 + 4;

/** The bins per invocation, as in shaders/shared/digits.wgsl, and the count of a loop over them. */
const BINS_PER_LANE = 8;
export const LANE_BINS = loop(BINS_PER_LANE);
/** The keys per invocation and step, as in shaders/select_block.wgsl. */
const KEYS_PER_STEP = 8;
/** The count of the loops of `search_level` in shaders/select_block.wgsl. */
const SEARCH = sequence(LANE_BINS, SCAN, LANE_BINS);

/**
 * Finds the digit of the threshold at level − 1 from its histogram in `digits`, where `level` is 1 or 2, and
 * stores the state of the search in `digits`. At level 1, the selection is of `k` entries. Then adds to the
 * histogram of `level` the digits of the keys that begin with the digits that are known.
 */
export const refineHistogram = defineKernel({
  name: "refine_histogram",
  bindings: { keys: "read", digits: "read_write" },
  params: { count: "u32", level: "u32", k: "u32" },
  shader: {
    code,
    entryPoint: "refine_histogram",
    grid: (p) => linearGrid(p.count, RADIX_BINS * KEYS_PER_INVOCATION),
    loops: () => sequence(LANE_BINS, SEARCH, loop(KEYS_PER_INVOCATION), LANE_BINS),
  },
});

/**
 * Finds the threshold from the histogram of level 2, and writes `selection` for the keys, (rows, cols). If all
 * ties are chosen, selection[0] is 1 more than the threshold, and the other elements are 0. Otherwise they are
 * as after `rankTies`. The histograms in `digits` become 0.
 */
export const finishSelection = defineKernel({
  name: "finish_selection",
  bindings: { keys: "read", digits: "read_write", selection: "read_write" },
  params: { rows: "u32", cols: "u32" },
  shader: {
    code,
    entryPoint: "finish_selection",
    grid: () => [1, 1, 1],
    loops: (p) => {
      const rows = loop(Math.ceil(p.rows / RADIX_BINS));
      const keys = loop(Math.ceil(p.rows * p.cols / (RADIX_BINS * KEYS_PER_STEP)));
      return sequence(SEARCH, rows, loop(3 * BINS_PER_LANE), keys, rows, SCAN, rows);
    },
  },
});
