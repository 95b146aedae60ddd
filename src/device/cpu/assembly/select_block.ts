// The CPU twins of the kernels in shaders/select_block.wgsl. src/device/kernels/selection/select_block.ts describes the
// method and the buffers. finish_selection is a short scan, so it is one work item.

import { FinishSelectionArgs, RefineHistogramArgs } from "./args";
import { add_digits, clear_digits, count_digits_under, DIGIT_BINS, DIGIT_BYTES, count_equal } from "./shared/select_keys";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;
// The position of the searches in `digits`, in bytes, after the histograms of the three levels.
const SEARCHES: usize = 3 * DIGIT_BYTES;

// The search after a level, as in shaders/select_block.wgsl. Each thread has its own globals.
let knownDigits: u32 = 0;
let wantedEntries: u32 = 0;
let tiesFound: u32 = 0;

@inline function digit_shift(level: u32): u32 {
  return level == 0 ? 21 : level == 1 ? 10 : 0;
}

// Finds the digit of the threshold at `level`. If `wanted` is 0, no digit is found.
function search_level(digits: usize, level: u32, threshold: u32, wanted: u32): void {
  knownDigits = threshold;
  wantedEntries = 0;
  tiesFound = 0;
  if (wanted == 0) return;
  const histogram = digits + level * DIGIT_BYTES;
  let below: u32 = 0;
  for (let digit: u32 = 0; digit < DIGIT_BINS; digit++) {
    const count = load<u32>(histogram + (<usize>digit << 2));
    if (wanted <= below + count) {
      knownDigits = threshold | (digit << digit_shift(level));
      wantedEntries = wanted - below;
      tiesFound = count;
      return;
    }
    below += count;
  }
}

export function refine_histogram_elements(args: RefineHistogramArgs, first: u32, count: u32): void {
  const level = args.level, digits = args.digits;
  let threshold: u32 = 0, wanted = args.k;
  if (level == 2) {
    threshold = load<u32>(digits + SEARCHES);
    wanted = load<u32>(digits + SEARCHES, 4);
  }
  search_level(digits, level - 1, threshold, wanted);
  if (first == 0) {
    store<u32>(digits + SEARCHES + 8 * (level - 1), knownDigits);
    store<u32>(digits + SEARCHES + 8 * (level - 1), wantedEntries, 4);
  }
  clear_digits(DIGIT_BINS);
  count_digits_under(args.keys + (<usize>first << 2), count, knownDigits, digit_shift(level - 1), digit_shift(level));
  add_digits(digits + level * DIGIT_BYTES, DIGIT_BINS);
}

export function finish_selection_items(args: FinishSelectionArgs): u32 {
  return args.rows > 0 ? 1 : 0;
}

export function finish_selection(args: FinishSelectionArgs, _item: u32): void {
  const digits = args.digits, selection = args.selection, rows = args.rows, cols = args.cols;
  search_level(digits, 2, load<u32>(digits + SEARCHES, 8), load<u32>(digits + SEARCHES, 12));
  memory.fill(digits, 0, SEARCHES);
  let remaining = wantedEntries;
  const ranked = remaining != tiesFound;
  store<u32>(selection, knownDigits + u32(!ranked && tiesFound > 0));
  store<u32>(selection, ranked ? remaining : 0, 4);
  for (let r: u32 = 0; r < rows; r++) {
    let chosen: u32 = 0;
    if (ranked && remaining > 0) {
      chosen = min<u32>(remaining, count_equal(args.keys + (<usize>(r * cols) << 2), cols, knownDigits));
      remaining -= chosen;
    }
    store<u32>(selection + (<usize>(2 + r) << 2), chosen);
  }
}
