// Twin of shaders/normalize.wgsl: mean, then squared deviations from it, both summed in f64, as is the mean square of rms_norm. An item is
// some whole rows.

import { f32At, pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";
import { sum_lanes_f64, widen_sum } from "./lanes";

const ELEMENTS_PER_ITEM: u32 = 1 << 15;

export function layer_norm_items(args: usize): i32 {
  return row_items(u32At(args, 4), u32At(args, 5), ELEMENTS_PER_ITEM);
}

export function layer_norm(args: usize, item: i32): void {
  const rows = u32At(args, 4), cols = u32At(args, 5);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    normalize_row(pointer(args, 0) + start, pointer(args, 1), pointer(args, 2), pointer(args, 3) + start, cols, f32At(args, 6));
  }
}

function row_mean(x: usize, cols: u32): f64 {
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) sums = f64x2.add(sums, widen_sum(v128.load(x + (<usize>c << 2))));
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) sum += load<f32>(x + (<usize>c << 2));
  return sum / <f64>cols;
}

function row_variance(x: usize, cols: u32, mean: f64): f64 {
  const center = f64x2.splat(mean);
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const four = v128.load(x + (<usize>c << 2));
    const low = f64x2.sub(f64x2.promote_low_f32x4(four), center);
    const high = f64x2.sub(f64x2.promote_low_f32x4(v128.shuffle<f32>(four, four, 2, 3, 0, 1)), center);
    sums = f64x2.add(sums, f64x2.add(f64x2.mul(low, low), f64x2.mul(high, high)));
  }
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) {
    const deviation = <f64>load<f32>(x + (<usize>c << 2)) - mean;
    sum += deviation * deviation;
  }
  return sum / <f64>cols;
}

function normalize_row(x: usize, weight: usize, bias: usize, y: usize, cols: u32, eps: f32): void {
  const mean = row_mean(x, cols);
  const scale = <f32>(1 / sqrt<f64>(row_variance(x, cols, mean) + <f64>eps));
  // The mean in two f32: where it is large beside the deviations, its rounding would show in every element.
  const center = <f32>mean;
  const rest = <f32>(mean - <f64>center);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const at = <usize>c << 2;
    const deviation = f32x4.sub(f32x4.sub(v128.load(x + at), f32x4.splat(center)), f32x4.splat(rest));
    const scaled = f32x4.mul(f32x4.mul(deviation, f32x4.splat(scale)), v128.load(weight + at));
    v128.store(y + at, f32x4.add(scaled, v128.load(bias + at)));
  }
  for (; c < cols; c++) {
    const at = <usize>c << 2;
    store<f32>(y + at, (load<f32>(x + at) - center - rest) * scale * load<f32>(weight + at) + load<f32>(bias + at));
  }
}

export function rms_norm_items(args: usize): i32 {
  return row_items(u32At(args, 3), u32At(args, 4), ELEMENTS_PER_ITEM);
}

export function rms_norm(args: usize, item: i32): void {
  const rows = u32At(args, 3), cols = u32At(args, 4);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    rms_normalize_row(pointer(args, 0) + start, pointer(args, 1), pointer(args, 2) + start, cols, f32At(args, 5));
  }
}

function rms_normalize_row(x: usize, weight: usize, y: usize, cols: u32, eps: f32): void {
  // Deviations from 0: the mean of squares.
  const scale = <f32>(1 / sqrt<f64>(row_variance(x, cols, 0) + <f64>eps));
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const at = <usize>c << 2;
    v128.store(y + at, f32x4.mul(f32x4.mul(v128.load(x + at), f32x4.splat(scale)), v128.load(weight + at)));
  }
  for (; c < cols; c++) {
    const at = <usize>c << 2;
    store<f32>(y + at, load<f32>(x + at) * scale * load<f32>(weight + at));
  }
}
