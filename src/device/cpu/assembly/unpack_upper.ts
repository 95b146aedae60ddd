// The CPU twin of shaders/unpack_upper.wgsl. The elements of a row are contiguous in the packed strip and in the tile,
// so each row takes one copy. A work item is some rows of the strip.

import { UnpackUpperArgs } from "./args";

export const ELEMENTS_PER_ITEM: u32 = 1 << 17;

export function unpack_upper_rows(args: UnpackUpperArgs, first: u32, end: u32): void {
  const source = args.source, target = args.target;
  const rows = args.rows, cols = args.cols, firstRow = args.first_row, firstCol = args.first_col;
  const targetOffset = args.target_offset, ld = args.ld;
  const firstLength = <u64>(args.n - firstRow); // the elements of the strip's first row
  for (let r = first; r < end; r++) {
    const i = firstRow + r;
    const c = i > firstCol ? i - firstCol : 0;
    if (c >= cols) return; // neither this row nor the rows below it have elements in the tile's columns
    // Computed in u64, because both products can be almost twice as large as the number of elements in the strip.
    const rowStart = <u64>r * firstLength - ((<u64>r * (<u64>r - 1)) >> 1);
    const from = source + <usize>((rowStart + <u64>(firstCol + c - i)) << 2);
    const to = target + (<usize>(targetOffset + r * ld + c) << 2);
    memory.copy(to, from, <usize>(cols - c) << 2);
  }
}
