// Twin of shaders/copy2d.wgsl. An item is some whole rows.

import { pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";

const ELEMENTS_PER_ITEM: u32 = 1 << 17;

export function copy2d_items(args: usize): i32 {
  return row_items(u32At(args, 2), u32At(args, 3), ELEMENTS_PER_ITEM);
}

export function copy2d(args: usize, item: i32): void {
  const rows = u32At(args, 2), cols = u32At(args, 3);
  const sourceStride = <usize>u32At(args, 5) << 2;
  const targetStride = <usize>u32At(args, 7) << 2;
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  let source = pointer(args, 0) + (<usize>u32At(args, 4) << 2) + <usize>first * sourceStride;
  let target = pointer(args, 1) + (<usize>u32At(args, 6) << 2) + <usize>first * targetStride;
  for (let r = first; r < end; r++) {
    memory.copy(target, source, <usize>cols << 2);
    source += sourceStride;
    target += targetStride;
  }
}
