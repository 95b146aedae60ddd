// The CPU twins of the kernels in shaders/choose.wgsl. src/device/kernels/selection/choose.ts describes the method and
// the buffers. A work item is some whole rows of the tile. Each row is handled in pieces of at most PIECE columns. The
// keys of a piece are first written to the scratch, and then counted or compared.

import { ChooseEntriesArgs, ChooseInGroupsArgs, CountScoreTiesArgs, ScoreHistogramArgs } from "./args";
import {
  add_digits, clear_digits, count_digits_under, count_equal, count_first_digits, DIGITS_SCRATCH_BYTES, force_row, keep_entries, score_row,
} from "./shared/select_keys";
import { scratch } from "./shared/instance";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;
const PIECE: u32 = 1024;
const BINS: u32 = 256;

// Writes the keys of the elements (r, c) … (r, c + count − 1) of the tile to the scratch, and returns their address. The type
// parameter `A` is the class of the arguments of any of the kernels.
function write_keys<A>(args: A, r: u32, c: u32, count: u32): usize {
  const x = args.x + (<usize>(r * args.ld + c) << 2), column = args.first + c, keys = scratch() + DIGITS_SCRATCH_BYTES;
  score_row(x, args.scale + (<usize>column << 2), keys, count);
  if (args.has_forced) force_row(args.forced + (<usize>((args.row0 + r) * args.words) << 2), column, keys, count);
  return keys;
}

export function score_histogram_rows(args: ScoreHistogramArgs, start: u32, end: u32): void {
  const cols = args.cols, shift = 24 - 8 * args.level;
  const prefix = load<u32>(args.selection);
  clear_digits(BINS);
  for (let r = start; r < end; r++) {
    for (let c: u32 = 0; c < cols; c += PIECE) {
      const count = min<u32>(PIECE, cols - c), keys = write_keys(args, r, c, count);
      if (args.level == 0) count_first_digits(keys, count, shift);
      else count_digits_under(keys, count, prefix, shift + 8, shift);
    }
  }
  add_digits(args.histogram, BINS);
}

export function count_score_ties_rows(args: CountScoreTiesArgs, start: u32, end: u32): void {
  const cols = args.cols, threshold = load<u32>(args.selection);
  for (let r = start; r < end; r++) {
    let found: u32 = 0;
    for (let c: u32 = 0; c < cols; c += PIECE) {
      const count = min<u32>(PIECE, cols - c);
      found += count_equal(write_keys(args, r, c, count), count, threshold);
    }
    const ties = args.selection + (<usize>(2 + args.row0 + r) << 2);
    store<u32>(ties, load<u32>(ties) + found);
  }
}

export function choose_entries_rows(args: ChooseEntriesArgs, start: u32, end: u32): void {
  const cols = args.cols, threshold = load<u32>(args.selection);
  for (let r = start; r < end; r++) {
    const ties = args.selection + (<usize>(2 + args.row0 + r) << 2);
    const mask = args.mask + (<usize>((args.row0 + r) * args.words) << 2);
    let remaining = load<u32>(ties);
    for (let c: u32 = 0; c < cols; c += PIECE) {
      const count = min<u32>(PIECE, cols - c), keys = write_keys(args, r, c, count);
      remaining = keep_entries(mask, args.first + c, keys, count, threshold, remaining);
    }
    store<u32>(ties, remaining);
  }
}

export function choose_in_groups_rows(args: ChooseInGroupsArgs, start: u32, end: u32): void {
  const cols = args.cols, group = args.group, keep = args.keep;
  // A piece consists of whole groups.
  const piece = PIECE / group * group;
  for (let r = start; r < end; r++) {
    const mask = args.mask + (<usize>((args.row0 + r) * args.words) << 2);
    for (let c: u32 = 0; c < cols; c += piece) {
      const count = min<u32>(piece, cols - c), keys = write_keys(args, r, c, count);
      for (let i: u32 = 0; i < count; i += group) {
        keep_in_group(mask, args.first + c, keys, i, min<u32>(count, i + group), keep, group);
      }
    }
  }
}

// Sets the mask bits of the entries that a group keeps. The group has the keys with the indices `start` … `end` − 1. The key
// with index 0 belongs to column `column` of the matrix.
function keep_in_group(mask: usize, column: u32, keys: usize, start: u32, end: u32, keep: u32, group: u32): void {
  const size = end - start, pruned = size - (keep * size + group - 1) / group;
  for (let i = start; i < end; i++) {
    const key = load<u32>(keys + (<usize>i << 2));
    let rank: u32 = 0;
    for (let other = start; other < end; other++) {
      const otherKey = load<u32>(keys + (<usize>other << 2));
      rank += u32(otherKey < key) | (u32(otherKey == key) & u32(other < i));
    }
    if (rank < pruned || key == 0) continue;
    const word = mask + (<usize>((column + i) >> 5) << 2);
    store<u32>(word, load<u32>(word) | (1 << ((column + i) & 31)));
  }
}
