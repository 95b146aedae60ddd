// The CPU twin of shaders/mirror_upper.wgsl. A work item is some whole rows of the lower triangle.

import { MirrorUpperArgs } from "./args";
import { ceil_divide } from "./shared/items";
import { transpose_4x4 } from "./shared/lanes";

// The number of f32 in a cache line. A work item has this many rows of the lower triangle, and transposes
// square blocks with this edge.
const EDGE: u32 = 16;

export function mirror_upper_items(args: MirrorUpperArgs): u32 {
  return ceil_divide(args.size, EDGE);
}

export function mirror_upper(args: MirrorUpperArgs, item: u32): void {
  const tile = args.tile, size = args.size;
  const stride = <usize>args.ld << 2;
  const first = item * EDGE;
  const end = min<u32>(size, first + EDGE);
  for (let left: u32 = 0; left < first; left += EDGE) mirror_block(tile, stride, left, left + EDGE, first, end);
  // The block on the diagonal is source and target at once, so it is mirrored element by element.
  for (let j = first; j < end; j++) mirror_elements(tile, stride, first, j, j);
}

// Writes rows top … bottom−1 and columns left … right−1 of the lower triangle. right − left must be divisible by 4.
function mirror_block(tile: usize, stride: usize, left: u32, right: u32, top: u32, bottom: u32): void {
  let j = top;
  for (; j + 4 <= bottom; j += 4) {
    for (let i = left; i < right; i += 4) {
      transpose_4x4(tile + i * stride + (<usize>j << 2), stride, tile + j * stride + (<usize>i << 2), stride);
    }
  }
  for (; j < bottom; j++) mirror_elements(tile, stride, left, right, j);
}

// Writes columns left … right−1 of row j of the lower triangle.
function mirror_elements(tile: usize, stride: usize, left: u32, right: u32, j: u32): void {
  for (let i = left; i < right; i++) {
    store<u32>(tile + j * stride + (<usize>i << 2), load<u32>(tile + i * stride + (<usize>j << 2)));
  }
}
