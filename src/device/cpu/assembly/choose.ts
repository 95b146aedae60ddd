// The CPU twins of the kernels in shaders/choose.wgsl. src/device/kernels/selection/choose.ts describes the method and
// the buffers. A work item is some whole rows of the tile. Each row is handled in pieces of at most PIECE columns. The
// keys of a piece are first written to the scratch, and then counted or compared.

import { ChooseEntriesArgs, ChooseInGroupsArgs, CountScoreTiesArgs, ScoreHistogramArgs } from "./args";
import { count_equal, force_row, score_row } from "./shared/select_keys";
import { scratch } from "./shared/instance";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;
const PIECE: u32 = 1024;
const HISTOGRAM_BYTES: usize = 1024;
// The byte offset of the keys of a piece in the scratch, which starts with four histograms.
const KEYS: usize = 4 * HISTOGRAM_BYTES;

// Writes the keys of the elements (r, c) … (r, c + count − 1) of the tile to the scratch. The type parameter `A` is the
// class of the arguments of any of the kernels.
function write_keys<A>(args: A, r: u32, c: u32, count: u32): void {
  const x = args.x + (<usize>(r * args.ld + c) << 2), column = args.first + c, keys = scratch() + KEYS;
  score_row(x, args.scale + (<usize>column << 2), keys, count);
  if (args.has_forced == 0) return;
  force_row(args.forced + (<usize>((args.row0 + r) * args.words) << 2), column, keys, count);
}

// @ts-ignore: decorator
@inline function key_at(i: u32): u32 {
  return load<u32>(scratch() + KEYS + (<usize>i << 2));
}

export function score_histogram_rows(args: ScoreHistogramArgs, start: u32, end: u32): void {
  const cols = args.cols, shift = 24 - 8 * args.level;
  const prefix = load<u32>(args.selection);
  memory.fill(scratch(), 0, 4 * HISTOGRAM_BYTES);
  for (let r = start; r < end; r++) {
    for (let c: u32 = 0; c < cols; c += PIECE) {
      const count = min<u32>(PIECE, cols - c);
      write_keys(args, r, c, count);
      if (args.level == 0) count_top_bytes(count);
      else count_under_prefix(count, prefix, shift);
    }
  }
  for (let bin: usize = 0; bin < HISTOGRAM_BYTES; bin += 4) {
    let total: u32 = 0;
    for (let copy: usize = 0; copy < 4; copy++) total += load<u32>(scratch() + copy * HISTOGRAM_BYTES + bin);
    if (total) atomic.add<u32>(args.histogram + bin, total);
  }
}

// Adds `by` to bin `digit` of the histogram with index `copy`. Four neighbouring keys are counted in four histograms,
// because two increments of the same bin would have to wait for each other.
// @ts-ignore: decorator
@inline function increment(copy: usize, digit: u32, by: u32): void {
  const bin = scratch() + copy * HISTOGRAM_BYTES + (<usize>digit << 2);
  store<u32>(bin, load<u32>(bin) + by);
}

function count_top_bytes(count: u32): void {
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    increment(0, key_at(i) >> 24, 1);
    increment(1, key_at(i + 1) >> 24, 1);
    increment(2, key_at(i + 2) >> 24, 1);
    increment(3, key_at(i + 3) >> 24, 1);
  }
  for (; i < count; i++) increment(0, key_at(i) >> 24, 1);
}

// Counts the values of the byte at bit `shift` of every key whose higher bytes equal the higher bytes of `threshold`.
// Few keys do, so four keys are compared at once.
function count_under_prefix(count: u32, threshold: u32, shift: u32): void {
  const prefix = threshold >> (shift + 8), prefixes = i32x4.splat(prefix);
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    const keys = v128.load(scratch() + KEYS + (<usize>i << 2));
    const agree: u32 = i32x4.bitmask(i32x4.eq(i32x4.shr_u(keys, shift + 8), prefixes));
    if (agree) {
      increment(0, (key_at(i) >> shift) & 0xff, agree & 1);
      increment(1, (key_at(i + 1) >> shift) & 0xff, (agree >> 1) & 1);
      increment(2, (key_at(i + 2) >> shift) & 0xff, (agree >> 2) & 1);
      increment(3, (key_at(i + 3) >> shift) & 0xff, (agree >> 3) & 1);
    }
  }
  for (; i < count; i++) {
    if (key_at(i) >> (shift + 8) == prefix) increment(0, (key_at(i) >> shift) & 0xff, 1);
  }
}

export function count_score_ties_rows(args: CountScoreTiesArgs, start: u32, end: u32): void {
  const cols = args.cols, threshold = load<u32>(args.selection);
  for (let r = start; r < end; r++) {
    let found: u32 = 0;
    for (let c: u32 = 0; c < cols; c += PIECE) {
      const count = min<u32>(PIECE, cols - c);
      write_keys(args, r, c, count);
      found += count_equal(scratch() + KEYS, count, threshold);
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
      const count = min<u32>(PIECE, cols - c);
      write_keys(args, r, c, count);
      remaining = keep_entries(mask, args.first + c, count, threshold, remaining);
    }
    store<u32>(ties, remaining);
  }
}

// Sets the mask bits of the kept entries among the `count` keys in the scratch. The first key belongs to column
// `column` of the matrix. Prunes the first `ties` ties. Returns how many of them later pieces must prune.
function keep_entries(mask: usize, column: u32, count: u32, threshold: u32, ties: u32): u32 {
  let remaining = ties, word = mask + (<usize>(column >> 5) << 2), bit = column & 31, bits: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const key = key_at(i);
    const tie = u32(key == threshold) & u32(remaining > 0);
    remaining -= tie;
    bits |= (u32(key >= threshold) & (tie ^ 1)) << bit;
    if (++bit == 32) {
      store<u32>(word, load<u32>(word) | bits);
      word += 4;
      bit = 0;
      bits = 0;
    }
  }
  if (bits) store<u32>(word, load<u32>(word) | bits);
  return remaining;
}

export function choose_in_groups_rows(args: ChooseInGroupsArgs, start: u32, end: u32): void {
  const cols = args.cols, group = args.group, keep = args.keep;
  // A piece consists of whole groups.
  const piece = PIECE / group * group;
  for (let r = start; r < end; r++) {
    const mask = args.mask + (<usize>((args.row0 + r) * args.words) << 2);
    for (let c: u32 = 0; c < cols; c += piece) {
      const count = min<u32>(piece, cols - c);
      write_keys(args, r, c, count);
      for (let i: u32 = 0; i < count; i += group) {
        keep_in_group(mask, args.first + c, i, min<u32>(count, i + group), keep, group);
      }
    }
  }
}

// Sets the mask bits of the entries that a group keeps. The group has the keys with the indices `start` … `end` − 1 in
// the scratch. The key with index 0 belongs to column `column` of the matrix.
function keep_in_group(mask: usize, column: u32, start: u32, end: u32, keep: u32, group: u32): void {
  const size = end - start, pruned = size - (keep * size + group - 1) / group;
  for (let i = start; i < end; i++) {
    const key = key_at(i);
    let rank: u32 = 0;
    for (let other = start; other < end; other++) {
      const otherKey = key_at(other);
      rank += u32(otherKey < key) | (u32(otherKey == key) & u32(other < i));
    }
    if (rank < pruned || key == 0) continue;
    const word = mask + (<usize>((column + i) >> 5) << 2);
    store<u32>(word, load<u32>(word) | (1 << ((column + i) & 31)));
  }
}
