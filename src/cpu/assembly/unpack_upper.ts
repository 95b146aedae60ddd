// Twin of shaders/unpack_upper.wgsl. What a row has of a tile is contiguous on both sides. An item is some rows of the strip.

import { pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";

const ELEMENTS_PER_ITEM: u32 = 1 << 17;

export function unpack_upper_items(args: usize): i32 {
  return row_items(u32At(args, 3), u32At(args, 4), ELEMENTS_PER_ITEM);
}

export function unpack_upper(args: usize, item: i32): void {
  const source = pointer(args, 0), target = pointer(args, 1);
  const n = u32At(args, 2), rows = u32At(args, 3), cols = u32At(args, 4);
  const firstRow = u32At(args, 5), firstCol = u32At(args, 6);
  const targetOffset = u32At(args, 7), ld = u32At(args, 8);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const length = <u64>(n - firstRow); // of the strip's first row
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const i = firstRow + r;
    const c = i > firstCol ? i - firstCol : 0;
    if (c >= cols) return; // and so are the rows below
    // In u64: r(r − 1) passes 2^32 long before the strip does.
    const rowStart = <u64>r * length - ((<u64>r * (<u64>r - 1)) >> 1);
    const from = source + <usize>((rowStart + <u64>(firstCol + c - i)) << 2);
    const to = target + (<usize>(targetOffset + r * ld + c) << 2);
    memory.copy(to, from, <usize>(cols - c) << 2);
  }
}
