// Operations on rows of f32 numbers.

import { fold_to_f64, sum_lanes, sum_lanes_f64 } from "./lanes";

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

// The mean of the `cols` numbers x, with sums in f64.
export function row_mean(x: usize, cols: u32): f64 {
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) sums = f64x2.add(sums, fold_to_f64(v128.load(x + (<usize>c << 2))));
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) sum += load<f32>(x + (<usize>c << 2));
  return sum / <f64>cols;
}

// The mean of (x − center)², with sums in f64.
export function mean_square_deviation(x: usize, cols: u32, center: f64): f64 {
  const centers = f64x2.splat(center);
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const four = v128.load(x + (<usize>c << 2));
    const low = f64x2.sub(f64x2.promote_low_f32x4(four), centers);
    const high = f64x2.sub(f64x2.promote_low_f32x4(v128.shuffle<f32>(four, four, 2, 3, 0, 1)), centers);
    sums = f64x2.add(sums, f64x2.add(f64x2.mul(low, low), f64x2.mul(high, high)));
  }
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) {
    const deviation = <f64>load<f32>(x + (<usize>c << 2)) - center;
    sum += deviation * deviation;
  }
  return sum / <f64>cols;
}
