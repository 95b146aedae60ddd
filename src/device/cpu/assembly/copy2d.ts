// The CPU twin of shaders/copy2d.wgsl, which copies a rectangle of a matrix. A work item is some whole rows.

import { Copy2dArgs } from "./args";

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
