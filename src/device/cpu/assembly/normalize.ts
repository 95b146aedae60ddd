// The CPU twins of the kernels in shaders/normalize.wgsl. layer_norm computes the mean of a row, and then the mean of
// the squared deviations from the mean. rms_norm computes the mean of the squares. A work item is some whole rows.

import { DivideByRmsArgs, LayerNormArgs, RmsNormArgs } from "./args";
import { round_output } from "./shared/float16";
import { mean_square, row_mean, scale_into } from "./shared/row_operations";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

export function layer_norm_rows(args: LayerNormArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    normalize_row(args.x + start, args.weight, args.bias, args.y + start, cols, args.eps);
    round_output(args.y, args.y_rounded, r * cols, cols);
  }
}

function normalize_row(x: usize, weight: usize, bias: usize, y: usize, cols: u32, eps: f32): void {
  const mean = row_mean(x, cols);
  // The mean is subtracted as the sum of two f32 numbers. One f32 number would be too coarse: if the mean is much
  // larger than the deviations, rounding it would change every element.
  const center = <f32>mean;
  const rest = <f32>(mean - <f64>center);
  // The mean of (x − center)² is larger than the variance by rest².
  const scale = <f32>(1 / sqrt<f64>(mean_square(x, cols, center) - <f64>rest * <f64>rest + <f64>eps));
  let c: u32 = 0;
  for (; c + 8 <= cols; c += 8) {
    const offset = <usize>c << 2;
    const left = normalized4(v128.load(x + offset), center, rest, scale);
    const right = normalized4(v128.load(x + offset, 16), center, rest, scale);
    const low = f32x4.add(f32x4.mul(left, v128.load(weight + offset)), v128.load(bias + offset));
    const high = f32x4.add(f32x4.mul(right, v128.load(weight + offset, 16)), v128.load(bias + offset, 16));
    v128.store(y + offset, low);
    v128.store(y + offset, high, 16);
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(y + offset, (load<f32>(x + offset) - center - rest) * scale * load<f32>(weight + offset) + load<f32>(bias + offset));
  }
}

// @ts-ignore: decorator
@inline function normalized4(x: v128, center: f32, rest: f32, scale: f32): v128 {
  return f32x4.mul(f32x4.sub(f32x4.sub(x, f32x4.splat(center)), f32x4.splat(rest)), f32x4.splat(scale));
}

export function rms_norm_rows(args: RmsNormArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    rms_normalize_row(args.x + start, args.weight, args.y + start, cols, args.eps);
    round_output(args.y, args.y_rounded, r * cols, cols);
  }
}

function rms_normalize_row(x: usize, weight: usize, y: usize, cols: u32, eps: f32): void {
  const scale = <f32>(1 / sqrt<f64>(mean_square(x, cols, 0) + <f64>eps)), scales = f32x4.splat(scale);
  let c: u32 = 0;
  for (; c + 8 <= cols; c += 8) {
    const offset = <usize>c << 2;
    const low = f32x4.mul(f32x4.mul(v128.load(x + offset), scales), v128.load(weight + offset));
    const high = f32x4.mul(f32x4.mul(v128.load(x + offset, 16), scales), v128.load(weight + offset, 16));
    v128.store(y + offset, low);
    v128.store(y + offset, high, 16);
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(y + offset, load<f32>(x + offset) * scale * load<f32>(weight + offset));
  }
}

export function divide_by_rms_rows(args: DivideByRmsArgs, first: u32, end: u32): void {
  const cols = args.cols, yCols = args.y_cols;
  for (let r = first; r < end; r++) {
    const square = mean_square(args.x + (<usize>(r * cols) << 2), cols, 0);
    const y = args.y + (<usize>(r * yCols) << 2);
    scale_into(y, yCols, <f32>(1 / sqrt<f64>(square + <f64>args.eps)), y);
  }
}
