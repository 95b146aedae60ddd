// The CPU twin of shaders/zero_columns.wgsl. It sets the columns of dead inputs to zero. A work item is some whole
// rows. It reads the flag of each column once for all its rows, because few columns are dead.

import { ZeroColumnsArgs } from "./args";

export const ELEMENTS_PER_ITEM: u32 = 1 << 18;

export function zero_columns_rows(args: ZeroColumnsArgs, first: u32, end: u32): void {
  const w = args.w, rows = args.rows, cols = args.cols;
  const stride = <usize>args.ld << 2;
  const dead = args.dead + (<usize>args.first << 2);
  for (let c: u32 = 0; c < cols; c++) {
    if (load<u32>(dead + (<usize>c << 2)) == 0) continue;
    for (let r = first; r < end; r++) store<f32>(w + r * stride + (<usize>c << 2), 0);
  }
}
