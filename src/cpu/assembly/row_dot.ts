// Twin of shaders/row_dot.wgsl. Sixteen partial sums a row, added as pairs. An item is some whole rows.

import { f32At, pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";
import { sum_lanes } from "./lanes";

const ELEMENTS_PER_ITEM: u32 = 1 << 16;

export function row_dot_items(args: usize): i32 {
  return row_items(u32At(args, 3), u32At(args, 4), ELEMENTS_PER_ITEM);
}

export function row_dot(args: usize, item: i32): void {
  const rows = u32At(args, 3), cols = u32At(args, 4);
  const x = pointer(args, 0) + (<usize>u32At(args, 5) << 2), ldx = u32At(args, 6);
  const y = pointer(args, 1) + (<usize>u32At(args, 7) << 2), ldy = u32At(args, 8);
  const sums = pointer(args, 2) + (<usize>u32At(args, 9) << 2), stride = u32At(args, 10);
  const scale = f32At(args, 11);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const sum = sums + (<usize>(r * stride) << 2);
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
