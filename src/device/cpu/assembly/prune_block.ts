// The CPU twins of the kernels in shaders/prune_block.wgsl. src/device/kernels/prune_block.ts describes the method and
// the buffers. A work item is some rows of a block of columns. The loop over the columns is in shared/column_loop.ts.

import { PruneBlockArgs, PruneBlockNMArgs } from "./args";
import { choose_in_group, end_of_item, load_forced, load_weights, pack_block, PANEL, row_bundle_items, ROWS_PER_ITEM, subtract_before, sweep_columns } from "./shared/column_loop";
import { store_rows } from "./shared/store_rows";
import { BUNDLE_ROWS, COLUMN_BYTES, load_bundle, pruned, temporary } from "./shared/prune_bundle";
import { ceil_divide } from "./shared/items";

export function prune_block_items(args: PruneBlockArgs): u32 {
  return row_bundle_items(args);
}

export function prune_block(args: PruneBlockArgs, item: u32): void {
  const size = args.size, row0 = args.row0;
  const keys = args.keys, selection = args.selection;
  const end = end_of_item(args, item);
  pack_block(args, PANEL);
  for (let r = item * ROWS_PER_ITEM; r < end; r += BUNDLE_ROWS) {
    const count = min<u32>(BUNDLE_ROWS, end - r);
    load_weights(args, r, count);
    load_bundle(keys + (<usize>((row0 + r) * size) << 2), <usize>size << 2, count, size, pruned(0));
    choose_by_key(selection, row0 + r, count, size);
    for (let start: u32 = 0; start < size; start += PANEL) {
      subtract_before(size, PANEL, start);
      sweep_columns(size, PANEL, start, start, min<u32>(start + PANEL, size), false, 0);
    }
    store_rows(args, r, count);
  }
}

export function prune_block_n_m_items(args: PruneBlockNMArgs): u32 {
  return row_bundle_items(args);
}

export function prune_block_n_m(args: PruneBlockNMArgs, item: u32): void {
  const size = args.size, row0 = args.row0, first = args.first, words = args.words;
  const keep = args.keep, group = args.group, hasForced = args.has_forced == 1;
  const panel = min<u32>(group, size);
  const end = end_of_item(args, item);
  pack_block(args, panel);
  for (let r = item * ROWS_PER_ITEM; r < end; r += BUNDLE_ROWS) {
    const count = min<u32>(BUNDLE_ROWS, end - r);
    load_weights(args, r, count);
    memory.fill(pruned(0), 0, size * COLUMN_BYTES);
    if (hasForced) load_forced(args.forced + (<usize>((row0 + r) * words) << 2), <usize>words << 2, count, first, size, 1);
    for (let start: u32 = 0; start < size; start += group) {
      const width = min<u32>(group, size - start);
      subtract_before(size, panel, start);
      choose_in_group(start, width, width - ceil_divide(keep * width, group));
      sweep_columns(size, panel, start, start, start + width, false, 0);
    }
    store_rows(args, r, count);
  }
}

// Replaces the sort keys in `pruned` by flags. An entry is pruned if its key is below the threshold. Entries whose key
// equals the threshold are ties, which are pruned from left to right until the row's number of ties in `selection` is
// used up. All columns are decided at once, because the keys do not change during the sweep.
function choose_by_key(selection: usize, row: u32, count: u32, size: u32): void {
  const threshold = i32x4.splat(load<u32>(selection));
  const ties = selection + (<usize>(2 + row) << 2);
  memory.fill(temporary(0), 0, COLUMN_BYTES);
  memory.copy(temporary(0), ties, <usize>count << 2);
  let remaining = v128.load(temporary(0)), remainingHigh = v128.load(temporary(0), 16);
  const zero = i32x4.splat(0);
  for (let j: u32 = 0; j < size; j++) {
    const key = v128.load(pruned(j)), keyHigh = v128.load(pruned(j), 16);
    const tie = v128.and(i32x4.eq(key, threshold), i32x4.gt_s(remaining, zero));
    const tieHigh = v128.and(i32x4.eq(keyHigh, threshold), i32x4.gt_s(remainingHigh, zero));
    remaining = i32x4.add(remaining, tie); // a flag counts as −1
    remainingHigh = i32x4.add(remainingHigh, tieHigh);
    v128.store(pruned(j), v128.or(i32x4.lt_u(key, threshold), tie));
    v128.store(pruned(j), v128.or(i32x4.lt_u(keyHigh, threshold), tieHigh), 16);
  }
  v128.store(temporary(0), remaining);
  v128.store(temporary(0), remainingHigh, 16);
  memory.copy(ties, temporary(0), <usize>count << 2);
}
