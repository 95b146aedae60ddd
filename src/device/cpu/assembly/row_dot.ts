// The CPU twin of shaders/row_dot.wgsl: the dot products of the rows of two matrices. A dot product is accumulated in
// sixteen partial sums, which are added pairwise at the end. A work item is some whole rows.

import { RowDotArgs } from "./args";
import { sum_lanes } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;

export function row_dot_rows(args: RowDotArgs, first: u32, end: u32): void {
  const cols = args.cols;
  const x = args.x + (<usize>args.x_offset << 2), ldx = args.ldx;
  const y = args.y + (<usize>args.y_offset << 2), ldy = args.ldy;
  const sums = args.sums + (<usize>args.sums_offset << 2), sumsStride = args.sums_stride;
  const scale = args.scale;
  for (let r = first; r < end; r++) {
    const sum = sums + (<usize>(r * sumsStride) << 2);
    const product = dot(x + (<usize>(r * ldx) << 2), y + (<usize>(r * ldy) << 2), cols);
    store<f32>(sum, load<f32>(sum) + scale * product);
  }
}

function dot(x: usize, y: usize, cols: u32): f32 {
  let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  let c: u32 = 0;
  for (; c + 16 <= cols; c += 16) {
    sum0 = f32x4.relaxed_madd(v128.load(x), v128.load(y), sum0);
    sum1 = f32x4.relaxed_madd(v128.load(x, 16), v128.load(y, 16), sum1);
    sum2 = f32x4.relaxed_madd(v128.load(x, 32), v128.load(y, 32), sum2);
    sum3 = f32x4.relaxed_madd(v128.load(x, 48), v128.load(y, 48), sum3);
    x += 64;
    y += 64;
  }
  let tail: f32 = 0;
  for (; c < cols; c++) {
    tail += load<f32>(x) * load<f32>(y);
    x += 4;
    y += 4;
  }
  return sum_lanes(f32x4.add(f32x4.add(sum0, sum2), f32x4.add(sum1, sum3))) + tail;
}
