// The CPU twin of shaders/update_block.wgsl. It adds the lazy batch update to a block of weights, computes the keys of
// the result, and counts their first digits. The cpu backend solves layers without this kernel, because on a CPU the
// separate steps are as fast. So the product is a simple loop over the rows of U.

import { UpdateBlockArgs } from "./args";
import { add_digits, clear_digits, count_digit, force_row, score_row } from "./shared/select_keys";
import { row_items, rows_per_item } from "./shared/items";

const ELEMENTS_PER_ITEM: u32 = 1 << 16;

export function update_block_items(args: UpdateBlockArgs): u32 {
  return row_items(args.rows, args.cols, ELEMENTS_PER_ITEM);
}

export function update_block(args: UpdateBlockArgs, item: u32): void {
  const cols = args.cols, firstColumn = args.first;
  const scale = args.scale + (<usize>firstColumn << 2);
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = item * step, end = min<u32>(args.rows, first + step);
  clear_digits();
  for (let r = first; r < end; r++) {
    const row = args.row0 + r;
    const work = args.work + (<usize>(row * args.ldwork) << 2);
    const keys = args.keys + (<usize>(row * cols) << 2);
    memory.copy(work, args.w + (<usize>(args.w_offset + r * args.ldw) << 2), <usize>cols << 2);
    add_update(args, r, work);
    score_row(work, scale, keys, cols);
    if (args.has_forced == 1) force_row(args.forced + (<usize>(row * args.words) << 2), firstColumn, keys, cols);
    for (let c: u32 = 0; c < cols; c++) count_digit(c & 3, load<u32>(keys + (<usize>c << 2)) >> 21);
  }
  add_digits(args.digits);
}

// Adds Σ_p A[r, p]·U[p, :] to a row of `work`. Row p of U is zero before column p.
function add_update(args: UpdateBlockArgs, r: u32, work: usize): void {
  const a = args.a + (<usize>(args.a_offset + r * args.lda) << 2);
  for (let p: u32 = 0; p < args.depth; p++) {
    const factor = load<f32>(a + (<usize>p << 2));
    const u = args.u + (<usize>(args.u_offset + p * args.ldu) << 2);
    for (let c = p; c < args.cols; c++) {
      const at = <usize>c << 2;
      store<f32>(work + at, load<f32>(work + at) + factor * load<f32>(u + at));
    }
  }
}
