// The histogram of a digit of 11 bits, which select_block.ts and update_block.ts count in the scratch (the thread's
// private memory).

import { scratch } from "./scratch";

export const DIGIT_BINS: u32 = 2048;
export const DIGIT_BYTES: usize = 8192;
// Neighbouring keys are counted in four separate histograms, for the reason given in key_histogram.
const COPIES: usize = 4;

export function clear_digits(): void {
  memory.fill(scratch(), 0, COPIES * DIGIT_BYTES);
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
