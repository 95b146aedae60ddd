// The CPU twins of the kernels in shaders/rows.wgsl. They copy and add whole rows of activations.
// src/device/kernels/forward/rows.ts describes the buffers. A work item is some whole rows of the source or, for
// gather_rows, of the target.

import { AddRowsArgs, GatherRowsArgs } from "./args";
import { round_output } from "./shared/float16";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

export function gather_rows_rows(args: GatherRowsArgs, first: u32, end: u32): void {
  const rowBytes = <usize>args.cols << 2, index = args.index + (<usize>args.offset << 2);
  for (let r = first; r < end; r++) {
    const row = load<u32>(index + (<usize>r << 2));
    memory.copy(args.y + <usize>r * rowBytes, args.x + <usize>row * rowBytes, rowBytes);
    round_output(args.y, args.y_rounded, r * args.cols, args.cols);
  }
}

export function add_rows_rows(args: AddRowsArgs, first: u32, end: u32): void {
  const cols = args.cols, rowBytes = <usize>cols << 2, hasIndex = args.has_index == 1;
  const index = args.index + (<usize>args.offset << 2), factors = args.factors + (<usize>args.offset << 2);
  for (let r = first; r < end; r++) {
    const row = hasIndex ? load<u32>(index + (<usize>r << 2)) : r;
    const factor = hasIndex ? args.scale * load<f32>(factors + (<usize>r << 2)) : args.scale;
    add_row(args.x + <usize>r * rowBytes, args.y + <usize>row * rowBytes, cols, factor);
  }
}

// y ← y + factor·x over one row.
function add_row(x: usize, y: usize, cols: u32, factor: f32): void {
  const four = f32x4.splat(factor);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    v128.store(y + offset, f32x4.relaxed_madd(four, v128.load(x + offset), v128.load(y + offset)));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    store<f32>(y + offset, load<f32>(y + offset) + factor * load<f32>(x + offset));
  }
}
