// Operations on rows of f32 numbers.

import { sum_lanes } from "./lanes";

// target ← factor·source.
export function scale_into(source: usize, count: u32, factor: f32, target: usize): void {
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(target + (i << 2), f32x4.mul(v128.load(source + (i << 2)), f32x4.splat(factor)));
  }
  for (; i < count; i++) store<f32>(target + (i << 2), load<f32>(source + (i << 2)) * factor);
}

// target ← target + factor·row.
export function add_scaled(target: usize, row: usize, factor: f32, count: u32): void {
  const factors = f32x4.splat(factor), end = <usize>count << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    v128.store(target + j, f32x4.relaxed_madd(factors, v128.load(row + j), v128.load(target + j)));
  }
  for (; j < end; j += 4) store<f32>(target + j, load<f32>(target + j) + factor * load<f32>(row + j));
}

// Returns the dot product of two rows.
export function dot(x: usize, y: usize, count: u32): f32 {
  const end = <usize>count << 2;
  let sums = f32x4.splat(0), j: usize = 0;
  for (; j + 16 <= end; j += 16) sums = f32x4.relaxed_madd(v128.load(x + j), v128.load(y + j), sums);
  let sum = sum_lanes(sums);
  for (; j < end; j += 4) sum += load<f32>(x + j) * load<f32>(y + j);
  return sum;
}
