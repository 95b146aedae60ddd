// The CPU twin of shaders/choose_in_rows.wgsl. A work item is some whole rows. The keys of a row are first written to
// the scratch, which has room for rows of 2^20 − 2^13 entries. Requests may not have such long rows.

import { ChooseInRowsArgs } from "./args";
import { clear_digits, count_digits_under, count_first_digits, digit_count, DIGITS_SCRATCH_BYTES, force_row, keep_entries, score_row } from "./shared/select_keys";
import { scratch } from "./shared/instance";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;
const BINS: u32 = 256;

export function choose_in_rows_rows(args: ChooseInRowsArgs, first: u32, end: u32): void {
  const cols = args.cols, keys = scratch() + DIGITS_SCRATCH_BYTES;
  for (let r = first; r < end; r++) {
    const row = args.row0 + r, mask = args.mask + (<usize>(row * args.words) << 2);
    score_row(args.x + (<usize>(r * args.ld) << 2), args.scale, keys, cols);
    if (args.has_forced) force_row(args.forced + (<usize>(row * args.words) << 2), 0, keys, cols);
    let threshold: u32 = 0, remaining = load<u32>(args.counts + (<usize>row << 2));
    for (let shift: i32 = 24; shift >= 0 && remaining > 0; shift -= 8) {
      clear_digits(BINS);
      if (shift == 24) count_first_digits(keys, cols, shift);
      else count_digits_under(keys, cols, threshold, shift + 8, shift);
      let below: u32 = 0, digit: u32 = 0;
      for (; digit < BINS - 1; digit++) {
        const reached = below + digit_count(digit);
        if (remaining <= reached) break;
        below = reached;
      }
      threshold |= digit << shift;
      remaining -= below;
    }
    memory.fill(mask, 0, <usize>args.words << 2);
    keep_entries(mask, 0, keys, cols, threshold, remaining);
  }
}
