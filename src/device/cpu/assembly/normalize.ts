// The CPU twins of the kernels in shaders/normalize.wgsl. layer_norm computes the mean of a row, and then the mean of
// the squared deviations from the mean. rms_norm computes the mean of the squares. A work item is some whole rows.

import { DivideByRmsArgs, LayerNormArgs, RmsNormArgs } from "./args";
import { round_output } from "./shared/float16";
import { load_lanes } from "./shared/lanes";
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
  const end = <usize>cols << 2;
  let i: usize = 0;
  for (; i + 32 <= end; i += 32) {
    const left = normalized(x + i, weight + i, bias + i, center, rest, scale, false);
    const right = normalized(x + i + 16, weight + i + 16, bias + i + 16, center, rest, scale, false);
    v128.store(y + i, left);
    v128.store(y + i, right, 16);
  }
  for (; i < end; i += 4) {
    store<f32>(y + i, f32x4.extract_lane(normalized(x + i, weight + i, bias + i, center, rest, scale, true), 0));
  }
}

@inline function normalized(
  x: usize, weight: usize, bias: usize, center: f32, rest: f32, scale: f32, isSingle: bool,
): v128 {
  const deviation = f32x4.sub(f32x4.sub(load_lanes(x, isSingle), f32x4.splat(center)), f32x4.splat(rest));
  const scaled = f32x4.mul(f32x4.mul(deviation, f32x4.splat(scale)), load_lanes(weight, isSingle));
  return f32x4.add(scaled, load_lanes(bias, isSingle));
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
  const end = <usize>cols << 2;
  let i: usize = 0;
  for (; i + 32 <= end; i += 32) {
    const left = f32x4.mul(f32x4.mul(v128.load(x + i), scales), v128.load(weight + i));
    const right = f32x4.mul(f32x4.mul(v128.load(x + i, 16), scales), v128.load(weight + i, 16));
    v128.store(y + i, left);
    v128.store(y + i, right, 16);
  }
  for (; i < end; i += 4) store<f32>(y + i, load<f32>(x + i) * scale * load<f32>(weight + i));
}

export function divide_by_rms_rows(args: DivideByRmsArgs, first: u32, end: u32): void {
  const cols = args.cols, yCols = args.y_cols;
  for (let r = first; r < end; r++) {
    const square = mean_square(args.x + (<usize>(r * cols) << 2), cols, 0);
    const y = args.y + (<usize>(r * yCols) << 2);
    scale_into(y, yCols, <f32>(1 / sqrt<f64>(square + <f64>args.eps)), y);
  }
}
