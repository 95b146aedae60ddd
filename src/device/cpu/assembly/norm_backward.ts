// The CPU twin of shaders/norm_backward.wgsl, with sums in f64. src/device/kernels/training/norm_backward.ts describes
// the buffers. A work item is some whole rows.

import { NormBackwardArgs } from "./args";
import { fold_to_f64, sum_lanes_f64 } from "./shared/lanes";
import { mean_square, row_mean } from "./shared/row_operations";

export const ELEMENTS_PER_ITEM: u32 = 1 << 14;

export function norm_backward_rows(args: NormBackwardArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    row_gradient(args.x + start, args.weight, args.gradient + start, args.x_gradient + start, cols, args.eps, args.is_centered == 1);
  }
}

function row_gradient(
  x: usize,
  weight: usize,
  gradient: usize,
  xGradient: usize,
  cols: u32,
  eps: f32,
  isCentered: bool,
): void {
  const mean: f64 = isCentered ? row_mean(x, cols) : 0;
  // The mean is subtracted as the sum of two f32 numbers, as in normalize.ts.
  const center = <f32>mean, rest = <f32>(mean - <f64>center);
  const scale = <f32>(1 / sqrt<f64>(mean_square(x, cols, center) - <f64>rest * <f64>rest + <f64>eps));
  const centers = f32x4.splat(center), rests = f32x4.splat(rest), scales = f32x4.splat(scale);

  // The means of weight∘gradient and of weight∘gradient∘(the normalised row).
  let sums = f64x2.splat(0), products = sums;
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    const weighted = f32x4.mul(v128.load(weight + offset), v128.load(gradient + offset));
    const normalized = f32x4.mul(f32x4.sub(f32x4.sub(v128.load(x + offset), centers), rests), scales);
    sums = f64x2.add(sums, fold_to_f64(weighted));
    products = f64x2.add(products, fold_to_f64(f32x4.mul(weighted, normalized)));
  }
  let sum = sum_lanes_f64(sums), product = sum_lanes_f64(products);
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    const weighted = load<f32>(weight + offset) * load<f32>(gradient + offset);
    sum += weighted;
    product += weighted * ((load<f32>(x + offset) - center - rest) * scale);
  }
  const shift: f32 = isCentered ? <f32>(sum / <f64>cols) : 0, slope = <f32>(product / <f64>cols);

  for (c = 0; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    const four = v128.load(gradient + offset);
    const normalized = f32x4.mul(f32x4.sub(f32x4.sub(v128.load(x + offset), centers), rests), scales);
    const weighted = f32x4.sub(f32x4.mul(v128.load(weight + offset), four), f32x4.splat(shift));
    const change = f32x4.relaxed_nmadd(normalized, f32x4.splat(slope), weighted);
    v128.store(xGradient + offset, f32x4.relaxed_madd(scales, change, v128.load(xGradient + offset)));
    v128.store(gradient + offset, f32x4.mul(four, normalized));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    const one = load<f32>(gradient + offset);
    const normalized = (load<f32>(x + offset) - center - rest) * scale;
    const change = load<f32>(weight + offset) * one - shift - normalized * slope;
    store<f32>(xGradient + offset, load<f32>(xGradient + offset) + scale * change);
    store<f32>(gradient + offset, one * normalized);
  }
}
