// The CPU twins of the kernels in shaders/normalize.wgsl. layer_norm computes the mean of a row, and then the mean of
// the squared deviations from the mean. rms_norm computes the mean of the squares. All these sums are in f64. A work
// item is some whole rows.

import { DivideByRmsArgs, LayerNormArgs, RmsNormArgs } from "./args";
import { round_output } from "./shared/float16";
import { mean_square_deviation, row_mean } from "./shared/row_operations";

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
  const scale = <f32>(1 / sqrt<f64>(mean_square_deviation(x, cols, mean) + <f64>eps));
  // The mean is subtracted as the sum of two f32 numbers. One f32 number would be too coarse: if the mean is much
  // larger than the deviations, rounding it would change every element.
  const center = <f32>mean;
  const rest = <f32>(mean - <f64>center);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    const deviation = f32x4.sub(f32x4.sub(v128.load(x + offset), f32x4.splat(center)), f32x4.splat(rest));
    const scaled = f32x4.mul(f32x4.mul(deviation, f32x4.splat(scale)), v128.load(weight + offset));
    v128.store(y + offset, f32x4.add(scaled, v128.load(bias + offset)));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(y + offset, (load<f32>(x + offset) - center - rest) * scale * load<f32>(weight + offset) + load<f32>(bias + offset));
  }
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
  const scale = <f32>(1 / sqrt<f64>(mean_square_deviation(x, cols, 0) + <f64>eps));
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    v128.store(y + offset, f32x4.mul(f32x4.mul(v128.load(x + offset), f32x4.splat(scale)), v128.load(weight + offset)));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(y + offset, load<f32>(x + offset) * scale * load<f32>(weight + offset));
  }
}

export function divide_by_rms_rows(args: DivideByRmsArgs, first: u32, end: u32): void {
  const cols = args.cols, yCols = args.y_cols;
  for (let r = first; r < end; r++) {
    const square = mean_square_deviation(args.x + (<usize>(r * cols) << 2), cols, 0);
    const scale = <f32>(1 / sqrt<f64>(square + <f64>args.eps));
    const y = args.y + (<usize>(r * yCols) << 2);
    for (let c: u32 = 0; c < yCols; c++) {
      const at = y + (<usize>c << 2);
      store<f32>(at, load<f32>(at) * scale);
    }
  }
}
