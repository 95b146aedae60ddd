// The loops over the keys of a row, and the histograms of their digits, that the selections share.

import { scratch } from "./instance";

// Computes the keys of `cols` entries that are not forced.
export function score_row(work: usize, scale: usize, keys: usize, cols: u32): void {
  const magnitude = i32x4.splat(0x7fffffff), one = i32x4.splat(1);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const score = f32x4.mul(v128.load(work), v128.load(scale));
    v128.store(keys, i32x4.add(v128.and(score, magnitude), one));
    work += 16;
    scale += 16;
    keys += 16;
  }
  for (; c < cols; c++) {
    store<u32>(keys, (reinterpret<u32>(load<f32>(work) * load<f32>(scale)) & 0x7fffffff) + 1);
    work += 4;
    scale += 4;
    keys += 4;
  }
}

// Sets the keys of the forced entries among the `cols` entries from column `first` on to 0. `forced` points to the
// first mask word of the matrix row.
export function force_row(forced: usize, first: u32, keys: usize, cols: u32): void {
  let c: u32 = 0;
  while (c < cols) {
    const column = first + c;
    const bit = column & 31;
    const end = min<u32>(cols, c + 32 - bit);
    let bits = load<u32>(forced + (<usize>(column >> 5) << 2)) >> bit;
    if (end - c < 32) bits &= ((<u32>1) << (end - c)) - 1;
    for (; bits != 0; bits &= bits - 1) store<u32>(keys + (<usize>(c + ctz(bits)) << 2), 0);
    c = end;
  }
}

// Returns how many of `cols` keys equal `threshold`.
export function count_equal(keys: usize, cols: u32, threshold: u32): u32 {
  const thresholds = i32x4.splat(threshold);
  let counts = i32x4.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    counts = i32x4.sub(counts, i32x4.eq(v128.load(keys), thresholds));
    keys += 16;
  }
  let found: u32 = i32x4.extract_lane(counts, 0) + i32x4.extract_lane(counts, 1) +
    i32x4.extract_lane(counts, 2) + i32x4.extract_lane(counts, 3);
  for (; c < cols; c++) {
    found += u32(load<u32>(keys) == threshold);
    keys += 4;
  }
  return found;
}

// Sets the mask bits of the kept entries among `count` keys, which must be 0 before. The first key belongs to column
// `column` of the matrix. Forced entries and the first `ties` ties are pruned. Returns how many ties later keys must prune.
export function keep_entries(mask: usize, column: u32, keys: usize, count: u32, threshold: u32, ties: u32): u32 {
  let remaining = ties, word = mask + (<usize>(column >> 5) << 2), bit = column & 31, bits: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const key = load<u32>(keys + (<usize>i << 2));
    const tie = u32(key == threshold) & u32(remaining > 0);
    remaining -= tie;
    bits |= (u32(key >= threshold) & u32(key != 0) & (tie ^ 1)) << bit;
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

// The histogram of a digit of the keys, which has 8 or 11 bits. It is counted in the scratch.

export const DIGIT_BINS: u32 = 2048;
export const DIGIT_BYTES: usize = 8192;
// Neighbouring keys are counted in four separate histograms. Most scores fall into a few bins, so in a single histogram
// an increment would often have to wait for the previous increment of the same bin. The distance of the histograms is
// not a multiple of 4096, because a processor at first compares only the lowest 12 bits of two addresses.
const COPIES: usize = 4;
const COPY_BYTES: usize = DIGIT_BYTES + 256;
export const DIGITS_SCRATCH_BYTES: usize = COPIES * COPY_BYTES;

// Sets the first `bins` bins to 0.
export function clear_digits(bins: u32): void {
  for (let copy: usize = 0; copy < COPIES; copy++) memory.fill(scratch() + copy * COPY_BYTES, 0, <usize>bins << 2);
}

@inline function count_digit(copy: usize, digit: u32, by: u32 = 1): void {
  const bin = scratch() + copy * COPY_BYTES + (<usize>digit << 2);
  store<u32>(bin, load<u32>(bin) + by);
}

// Counts the bits from `shift` on of all keys.
export function count_first_digits(keys: usize, count: u32, shift: u32): void {
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4, keys += 16) {
    count_digit(0, load<u32>(keys) >> shift);
    count_digit(1, load<u32>(keys, 4) >> shift);
    count_digit(2, load<u32>(keys, 8) >> shift);
    count_digit(3, load<u32>(keys, 12) >> shift);
  }
  for (; i < count; i++, keys += 4) count_digit(0, load<u32>(keys) >> shift);
}

// Counts the digits from bit `shift` to bit `end` of the keys whose bits from `end` on equal the bits of `threshold`. Few keys
// have these bits, so four keys are compared at once.
export function count_digits_under(keys: usize, count: u32, threshold: u32, end: u32, shift: u32): void {
  const prefix = threshold >> end, prefixes = i32x4.splat(prefix), mask: u32 = (1 << (end - shift)) - 1;
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4, keys += 16) {
    const agree: u32 = i32x4.bitmask(i32x4.eq(i32x4.shr_u(v128.load(keys), end), prefixes));
    if (agree == 0) continue;
    count_digit(0, (load<u32>(keys) >> shift) & mask, agree & 1);
    count_digit(1, (load<u32>(keys, 4) >> shift) & mask, (agree >> 1) & 1);
    count_digit(2, (load<u32>(keys, 8) >> shift) & mask, (agree >> 2) & 1);
    count_digit(3, (load<u32>(keys, 12) >> shift) & mask, (agree >> 3) & 1);
  }
  for (; i < count; i++, keys += 4) {
    const key = load<u32>(keys);
    if (key >> end == prefix) count_digit(0, (key >> shift) & mask);
  }
}

// Returns the number of keys that were counted in a bin.
@inline export function digit_count(digit: u32): u32 {
  const bin = scratch() + (<usize>digit << 2);
  return load<u32>(bin) + load<u32>(bin + COPY_BYTES) + load<u32>(bin + 2 * COPY_BYTES) + load<u32>(bin + 3 * COPY_BYTES);
}

// Adds the first `bins` bins in the scratch to a histogram.
export function add_digits(histogram: usize, bins: u32): void {
  for (let digit: u32 = 0; digit < bins; digit++) {
    const total = digit_count(digit);
    if (total) atomic.add<u32>(histogram + (<usize>digit << 2), total);
  }
}
