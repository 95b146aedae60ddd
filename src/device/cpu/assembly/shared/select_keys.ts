// The loops over the keys of a row, and the histograms of 11-bit digits, that the selections share.

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

// The histogram of a digit of 11 bits, which select_block.ts and update_block.ts count in the scratch.

export const DIGIT_BINS: u32 = 2048;
export const DIGIT_BYTES: usize = 8192;
// Neighbouring keys are counted in four separate histograms. Most scores fall into a few bins, so in a single histogram
// an increment would often have to wait for the previous increment of the same bin.
const COPIES: usize = 4;
export const DIGITS_SCRATCH_BYTES: usize = COPIES * DIGIT_BYTES;

export function clear_digits(): void {
  memory.fill(scratch(), 0, DIGITS_SCRATCH_BYTES);
}

// @ts-ignore: decorator
@inline export function count_digit(copy: usize, digit: u32): void {
  const bin = scratch() + copy * DIGIT_BYTES + (<usize>digit << 2);
  store<u32>(bin, load<u32>(bin) + 1);
}

// Adds the counts in the scratch to a histogram.
export function add_digits(histogram: usize): void {
  for (let bin: usize = 0; bin < DIGIT_BYTES; bin += 4) {
    let total: u32 = 0;
    for (let copy: usize = 0; copy < COPIES; copy++) total += load<u32>(scratch() + copy * DIGIT_BYTES + bin);
    if (total) atomic.add<u32>(histogram + bin, total);
  }
}
