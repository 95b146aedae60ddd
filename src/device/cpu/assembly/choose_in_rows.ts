// The CPU twin of shaders/choose_in_rows.wgsl. A work item is some whole rows. The keys of a row are first written to
// the scratch, which has room for rows of 2^20 − 256 entries. Requests may not have such long rows.

import { ChooseInRowsArgs } from "./args";
import { force_row, score_row } from "./shared/select_keys";
import { scratch } from "./shared/instance";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;
const BINS: u32 = 256;
const HISTOGRAM_BYTES: usize = 1024;

export function choose_in_rows_rows(args: ChooseInRowsArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const row = args.row0 + r;
    write_keys(args, r);
    let threshold: u32 = 0, remaining = load<u32>(args.counts + (<usize>row << 2));
    for (let shift: i32 = 24; shift >= 0 && remaining > 0; shift -= 8) {
      count_bytes(cols, threshold, shift);
      let below: u32 = 0, digit: u32 = 0;
      for (; digit < BINS - 1; digit++) {
        const reached = below + load<u32>(scratch() + (<usize>digit << 2));
        if (remaining <= reached) break;
        below = reached;
      }
      threshold |= digit << shift;
      remaining -= below;
    }
    keep_entries(args.mask + (<usize>(row * args.words) << 2), cols, threshold, remaining);
  }
}

// @ts-ignore: decorator
@inline function key_address(c: u32): usize {
  return scratch() + HISTOGRAM_BYTES + (<usize>c << 2);
}

// Writes the keys of row r to the scratch.
function write_keys(args: ChooseInRowsArgs, r: u32): void {
  score_row(args.x + (<usize>(r * args.ld) << 2), args.scale, key_address(0), args.cols);
  if (args.has_forced == 0) return;
  force_row(args.forced + (<usize>((args.row0 + r) * args.words) << 2), 0, key_address(0), args.cols);
}

// Counts the values of the byte at bit `shift` of every key that equals `threshold` above this byte.
function count_bytes(cols: u32, threshold: u32, shift: i32): void {
  memory.fill(scratch(), 0, HISTOGRAM_BYTES);
  const above: u32 = shift == 24 ? 0 : ~(<u32>0) << (shift + 8);
  for (let c: u32 = 0; c < cols; c++) {
    const key = load<u32>(key_address(c));
    if ((key ^ threshold) & above) continue;
    const bin = scratch() + (<usize>((key >> shift) & 0xff) << 2);
    store<u32>(bin, load<u32>(bin) + 1);
  }
}

// Writes the mask of a row. The first `ties` ties of the row are pruned.
function keep_entries(mask: usize, cols: u32, threshold: u32, ties: u32): void {
  let remaining = ties;
  for (let start: u32 = 0; start < cols; start += 32) {
    const end = min<u32>(cols, start + 32);
    let bits: u32 = 0;
    for (let c = start; c < end; c++) {
      const key = load<u32>(key_address(c));
      const tie = u32(key == threshold) & u32(remaining > 0);
      remaining -= tie;
      bits |= (u32(key >= threshold) & u32(key != 0) & (tie ^ 1)) << (c - start);
    }
    store<u32>(mask + (<usize>(start >> 5) << 2), bits);
  }
}
