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

// The number of elements that are added up in f32. The sums of such runs are added in f64.
const RUN: u32 = 512;

// The mean of the `cols` numbers x. Their differences from the first one are added up, because they are smaller than x if
// the mean is large.
export function row_mean(x: usize, cols: u32): f64 {
  const pivot = load<f32>(x);
  let sum: f64 = 0;
  for (let c: u32 = 0; c < cols; c += RUN) sum += sum_of(x + (<usize>c << 2), min<u32>(RUN, cols - c), pivot, false);
  return <f64>pivot + sum / <f64>cols;
}

// The mean of (x − center)². It is infinite if a square is over 3e38.
export function mean_square(x: usize, cols: u32, center: f32): f64 {
  let sum: f64 = 0;
  for (let c: u32 = 0; c < cols; c += RUN) sum += sum_of(x + (<usize>c << 2), min<u32>(RUN, cols - c), center, true);
  return sum / <f64>cols;
}

// The sum of x − center or, with `squared`, of (x − center)².
@inline function sum_of(x: usize, count: u32, center: f32, squared: bool): f32 {
  const centers = f32x4.splat(center), end = x + (<usize>count << 2);
  let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (; x + 64 <= end; x += 64) {
    sum0 = add_term(sum0, f32x4.sub(v128.load(x), centers), squared);
    sum1 = add_term(sum1, f32x4.sub(v128.load(x, 16), centers), squared);
    sum2 = add_term(sum2, f32x4.sub(v128.load(x, 32), centers), squared);
    sum3 = add_term(sum3, f32x4.sub(v128.load(x, 48), centers), squared);
  }
  let sum = sum_lanes(f32x4.add(f32x4.add(sum0, sum2), f32x4.add(sum1, sum3)));
  for (; x < end; x += 4) {
    const deviation = load<f32>(x) - center;
    sum += squared ? deviation * deviation : deviation;
  }
  return sum;
}

@inline function add_term(sum: v128, deviation: v128, squared: bool): v128 {
  return squared ? f32x4.relaxed_madd(deviation, deviation, sum) : f32x4.add(sum, deviation);
}
