// The mean and the variance of a row of `cols` f32 numbers, with sums in f64.

import { fold_to_f64, sum_lanes_f64 } from "./lanes";

// The mean of x.
export function row_mean(x: usize, cols: u32): f64 {
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) sums = f64x2.add(sums, fold_to_f64(v128.load(x + (<usize>c << 2))));
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) sum += load<f32>(x + (<usize>c << 2));
  return sum / <f64>cols;
}

// The mean of (x − center)².
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
