// Twin of shaders/copy2d.wgsl. An item is some whole rows of the target.

import { pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";
import { transpose_4x4 } from "./transpose";

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

export function copy_transposed_items(args: usize): i32 {
  return row_items(u32At(args, 3), u32At(args, 2), ELEMENTS_PER_ITEM);
}

export function copy_transposed(args: usize, item: i32): void {
  const rows = u32At(args, 2), cols = u32At(args, 3);
  const sourceStride = <usize>u32At(args, 5) << 2, targetStride = <usize>u32At(args, 7) << 2;
  const step = rows_per_item(rows, ELEMENTS_PER_ITEM);
  const first = <u32>item * step, end = min<u32>(cols, first + step);
  const source = pointer(args, 0) + (<usize>u32At(args, 4) << 2);
  const target = pointer(args, 1) + (<usize>u32At(args, 6) << 2);
  for (let c = first; c < end; c += 4) {
    const from = source + (<usize>c << 2), to = target + <usize>c * targetStride;
    let r: u32 = 0;
    if (c + 4 <= end) {
      for (; r + 4 <= rows; r += 4) {
        transpose_4x4(from + <usize>r * sourceStride, sourceStride, to + (<usize>r << 2), targetStride);
      }
    }
    for (let j: u32 = 0; j < min<u32>(4, end - c); j++) {
      for (let i = r; i < rows; i++) {
        store<u32>(to + <usize>j * targetStride + (<usize>i << 2), load<u32>(from + <usize>i * sourceStride + (<usize>j << 2)));
      }
    }
  }
}
