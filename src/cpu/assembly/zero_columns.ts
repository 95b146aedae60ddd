// Twin of shaders/zero_columns.wgsl. Dead columns are few, so the flags are looked at once for many rows. An item is some whole rows.

import { pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";

const ELEMENTS_PER_ITEM: u32 = 1 << 18;

export function zero_columns_items(args: usize): i32 {
  return row_items(u32At(args, 2), u32At(args, 3), ELEMENTS_PER_ITEM);
}

export function zero_columns(args: usize, item: i32): void {
  const w = pointer(args, 1), rows = u32At(args, 2), cols = u32At(args, 3);
  const stride = <usize>u32At(args, 4) << 2;
  const dead = pointer(args, 0) + (<usize>u32At(args, 5) << 2);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let c: u32 = 0; c < cols; c++) {
    if (load<u32>(dead + (<usize>c << 2)) == 0) continue;
    for (let r = first; r < end; r++) store<f32>(w + r * stride + (<usize>c << 2), 0);
  }
}
