// The CPU twins of the kernels in shaders/select.wgsl. src/device/kernels/selection/select.ts describes the method and
// the buffers. select_digit and rank_ties are short scans, so each of them is one work item.

import { CountTiesArgs, KeyHistogramArgs, RankTiesArgs, ScoreKeysArgs, SelectDigitArgs } from "./args";
import { scratch } from "./shared/instance";
import { count_equal, force_row, score_row } from "./shared/select_keys";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;
const BINS: u32 = 256;
const HISTOGRAM_BYTES: usize = 1024;

export function score_keys_rows(args: ScoreKeysArgs, first: u32, end: u32): void {
  const cols = args.cols, ld = args.ld, firstColumn = args.first;
  const scale = args.scale + (<usize>firstColumn << 2);
  const words = args.words, hasForced = args.has_forced == 1;
  for (let r = first; r < end; r++) {
    const keys = args.keys + (<usize>(r * cols) << 2);
    score_row(args.work + (<usize>(r * ld) << 2), scale, keys, cols);
    if (hasForced) force_row(args.forced + (<usize>(r * words) << 2), firstColumn, keys, cols);
  }
}

export function key_histogram_elements(args: KeyHistogramArgs, first: u32, count: u32): void {
  const level = args.level, keys = args.keys + (<usize>first << 2);
  // Eight neighbouring keys are counted in eight separate histograms. Most scores fall into a few bins, so in a single
  // histogram an increment would often have to wait for the previous increment of the same bin.
  memory.fill(scratch(), 0, 8 * HISTOGRAM_BYTES);
  if (level == 0) count_top_bytes(keys, count);
  else count_under_prefix(keys, count, load<u32>(args.selection), 24 - 8 * level);

  const histogram = args.histogram;
  for (let bin: usize = 0; bin < HISTOGRAM_BYTES; bin += 4) {
    let total: u32 = 0;
    for (let copy: usize = 0; copy < 8; copy++) total += load<u32>(scratch() + copy * HISTOGRAM_BYTES + bin);
    if (total) atomic.add<u32>(histogram + bin, total);
  }
}

// @ts-ignore: decorator
@inline function increment(copy: usize, digit: u32, by: u32): void {
  const bin = scratch() + copy * HISTOGRAM_BYTES + (<usize>digit << 2);
  store<u32>(bin, load<u32>(bin) + by);
}

// Counts the most significant byte of every key.
function count_top_bytes(keys: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    increment(0, load<u8>(keys, 3), 1);
    increment(1, load<u8>(keys, 7), 1);
    increment(2, load<u8>(keys, 11), 1);
    increment(3, load<u8>(keys, 15), 1);
    increment(4, load<u8>(keys, 19), 1);
    increment(5, load<u8>(keys, 23), 1);
    increment(6, load<u8>(keys, 27), 1);
    increment(7, load<u8>(keys, 31), 1);
    keys += 32;
  }
  for (; i < length; i++) {
    increment(0, load<u8>(keys, 3), 1);
    keys += 4;
  }
}

// Counts the byte at bit `shift` of every key that equals `threshold` above this byte.
function count_under_prefix(keys: usize, length: u32, threshold: u32, shift: u32): void {
  const prefix = threshold >> (shift + 8);
  const prefixes = i32x4.splat(prefix);
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const low = i32x4.bitmask(i32x4.eq(i32x4.shr_u(v128.load(keys), shift + 8), prefixes));
    const high = i32x4.bitmask(i32x4.eq(i32x4.shr_u(v128.load(keys, 16), shift + 8), prefixes));
    const agree = low | (high << 4);
    // Keys that do not agree add 0, which costs less than mispredicted branches.
    if (agree) {
      increment(0, (load<u32>(keys) >> shift) & 0xff, agree & 1);
      increment(1, (load<u32>(keys, 4) >> shift) & 0xff, (agree >> 1) & 1);
      increment(2, (load<u32>(keys, 8) >> shift) & 0xff, (agree >> 2) & 1);
      increment(3, (load<u32>(keys, 12) >> shift) & 0xff, (agree >> 3) & 1);
      increment(4, (load<u32>(keys, 16) >> shift) & 0xff, (agree >> 4) & 1);
      increment(5, (load<u32>(keys, 20) >> shift) & 0xff, (agree >> 5) & 1);
      increment(6, (load<u32>(keys, 24) >> shift) & 0xff, (agree >> 6) & 1);
      increment(7, (load<u32>(keys, 28) >> shift) & 0xff, (agree >> 7) & 1);
    }
    keys += 32;
  }
  for (; i < length; i++) {
    const key = load<u32>(keys);
    if (key >> (shift + 8) == prefix) increment(0, (key >> shift) & 0xff, 1);
    keys += 4;
  }
}

export function select_digit_items(_args: SelectDigitArgs): u32 {
  return 1;
}

export function select_digit(args: SelectDigitArgs, _item: u32): void {
  const histogram = args.histogram, selection = args.selection, level = args.level;
  const threshold = level == 0 ? 0 : load<u32>(selection);
  const remaining = level == 0 ? args.k : load<u32>(selection, 4);
  store<u32>(selection, threshold);
  store<u32>(selection, remaining, 4);
  let below: u32 = 0; // the number of keys with a smaller digit
  for (let digit: u32 = 0; digit < BINS; digit++) {
    const reached = below + load<u32>(histogram + (<usize>digit << 2));
    if (below < remaining && remaining <= reached) {
      store<u32>(selection, threshold | (digit << (24 - 8 * level)));
      store<u32>(selection, remaining - below, 4);
    }
    below = reached;
  }
  memory.fill(histogram, 0, HISTOGRAM_BYTES);
}

export function count_ties_rows(args: CountTiesArgs, first: u32, end: u32): void {
  const selection = args.selection;
  const cols = args.cols, accumulate = args.accumulate == 1;
  const threshold = load<u32>(selection);
  for (let r = first; r < end; r++) {
    const ties = selection + (<usize>(2 + r) << 2);
    const found = count_equal(args.keys + (<usize>(r * cols) << 2), cols, threshold);
    store<u32>(ties, accumulate ? load<u32>(ties) + found : found);
  }
}

export function rank_ties_items(args: RankTiesArgs): u32 {
  return args.rows > 0 ? 1 : 0;
}

export function rank_ties(args: RankTiesArgs, _item: u32): void {
  const selection = args.selection, rows = args.rows;
  let remaining = load<u32>(selection, 4);
  for (let r: u32 = 0; r < rows; r++) {
    const ties = selection + (<usize>(2 + r) << 2);
    const chosen = min<u32>(remaining, load<u32>(ties));
    store<u32>(ties, chosen);
    remaining -= chosen;
  }
}
