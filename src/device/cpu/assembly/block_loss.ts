// The CPU twin of shaders/block_loss.wgsl, with sums in f64. src/device/kernels/training/block_loss.ts describes the
// buffers. A work item is some whole rows.

import { BlockLossArgs } from "./args";
import { fold_to_f64, sum_lanes_f64 } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

export function block_loss_rows(args: BlockLossArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const start = <usize>(r * cols) << 2;
    const error = row_loss(args.outputs + start, args.targets + start, args.gradient + start, cols, args.scale);
    store<f32>(args.errors + (<usize>r << 2), error);
  }
}

// Writes the gradient of one row, and returns its error.
function row_loss(output: usize, target: usize, gradient: usize, cols: u32, scale: f32): f32 {
  let differences = f64x2.splat(0), targets = differences;
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2, y = v128.load(target + offset);
    const difference = f32x4.sub(v128.load(output + offset), y);
    differences = f64x2.add(differences, fold_to_f64(f32x4.mul(difference, difference)));
    targets = f64x2.add(targets, fold_to_f64(f32x4.mul(y, y)));
  }
  let squares = sum_lanes_f64(differences), norm = sum_lanes_f64(targets);
  for (; c < cols; c++) {
    const offset = <usize>c << 2, y = load<f32>(target + offset);
    const difference = load<f32>(output + offset) - y;
    squares += difference * difference;
    norm += y * y;
  }
  const factor: f32 = norm > 0 ? <f32>(2 * <f64>scale / norm) : 0;
  for (c = 0; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    const difference = f32x4.sub(v128.load(output + offset), v128.load(target + offset));
    v128.store(gradient + offset, f32x4.mul(f32x4.splat(factor), difference));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(gradient + offset, factor * (load<f32>(output + offset) - load<f32>(target + offset)));
  }
  return norm > 0 ? <f32>(squares / norm) : squares > 0 ? 1 : 0;
}
