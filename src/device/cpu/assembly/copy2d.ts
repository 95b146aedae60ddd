// The CPU twins of the kernels in shaders/copy2d.wgsl. copy2d copies a rectangle of a matrix, and copy_transposed
// copies its transpose. A work item is some whole rows of the target.

import { Copy2dArgs, CopyTransposedArgs } from "./args";
import { row_items, rows_per_item } from "./shared/items";
import { transpose_4x4 } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 17;

export function copy2d_rows(args: Copy2dArgs, first: u32, end: u32): void {
  const cols = args.cols;
  const sourceStride = <usize>args.source_ld << 2, targetStride = <usize>args.target_ld << 2;
  let source = args.source + (<usize>args.source_offset << 2) + <usize>first * sourceStride;
  let target = args.target + (<usize>args.target_offset << 2) + <usize>first * targetStride;
  for (let r = first; r < end; r++) {
    memory.copy(target, source, <usize>cols << 2);
    source += sourceStride;
    target += targetStride;
  }
}

export function copy_transposed_items(args: CopyTransposedArgs): u32 {
  return row_items(args.cols, args.rows, ELEMENTS_PER_ITEM);
}

export function copy_transposed(args: CopyTransposedArgs, item: u32): void {
  const rows = args.rows, cols = args.cols;
  const sourceStride = <usize>args.source_ld << 2, targetStride = <usize>args.target_ld << 2;
  const step = rows_per_item(rows, ELEMENTS_PER_ITEM);
  const first = item * step, end = min<u32>(cols, first + step);
  const source = args.source + (<usize>args.source_offset << 2);
  const target = args.target + (<usize>args.target_offset << 2);
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
