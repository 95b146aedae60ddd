// The CPU version of shaders/quantize_block.wgsl, with the same result. src/device/kernels/quantize_block.ts describes the
// method and the buffers. A work item, which one thread runs, is some rows of a block of columns. The loop over the columns is
// in column_loop.ts. That loop applies the errors of earlier columns to one panel of columns at a time. Here a panel is the
// columns that share a grid, because a grid is computed from up-to-date weights. With one grid per row, a panel is a group of
// the n:m pattern, or PANEL columns if there is no such pattern.

import { choose_in_group, end_of_item, load_forced, load_weights, pack_block, PANEL, row_bundle_items, ROWS_PER_ITEM, store_rows, subtract_before, sweep_columns } from "./shared/column_loop";
import { BUNDLE_ROWS, COLUMN_BYTES, row_scales, row_zeros, weights } from "./shared/prune_bundle";
import { grid_scale, grid_zero } from "./shared/quantization_grid";
import { ceil_divide } from "./shared/items";

@unmanaged class QuantizeBlockArgs {
  work: usize;
  u: usize;
  w: usize;
  q: usize;
  mask: usize;
  sums: usize;
  scales: usize;
  zeros: usize;
  rows: u32;
  size: u32;
  row0: u32;
  ldwork: u32;
  u_offset: u32;
  ldu: u32;
  w_offset: u32;
  ldw: u32;
  first: u32;
  words: u32;
  keep: u32;
  group: u32;
  grid_size: u32;
  grids: u32;
  max_code: u32;
  symmetric: u32;
}

export function quantize_block_items(args: QuantizeBlockArgs): u32 {
  return row_bundle_items(args);
}

export function quantize_block(args: QuantizeBlockArgs, item: u32): void {
  const size = args.size, words = args.words, gridSize = args.grid_size, keep = args.keep;
  const choose = args.group > 0, maxCode = <f32>args.max_code;
  const unit = gridSize > 0 ? gridSize : choose ? args.group : PANEL;
  const group = choose ? args.group : unit;
  const panel = min<u32>(unit, size);
  const end = end_of_item(args, item);
  pack_block(args, panel);
  for (let r = item * ROWS_PER_ITEM; r < end; r += BUNDLE_ROWS) {
    const count = min<u32>(BUNDLE_ROWS, end - r), row = args.row0 + r;
    load_weights(args, r, count);
    load_forced(args.mask + (<usize>(row * words) << 2), <usize>words << 2, count, args.first, size, 0);
    if (gridSize == 0) load_grids(args.scales, args.zeros, row, count);
    for (let start: u32 = 0; start < size; start += unit) {
      const stop = min<u32>(start + unit, size);
      subtract_before(size, panel, start);
      if (gridSize > 0) fit_grid(args, row, count, start, stop);
      for (let first = start; first < stop; first += group) {
        const last = min<u32>(first + group, stop), width = last - first;
        if (choose) choose_in_group(first, width, width - ceil_divide(keep * width, group));
        sweep_columns(size, panel, start, first, last, true, maxCode);
      }
    }
    store_rows(args, r, count);
  }
}

// Loads the grids of a bundle, which is eight rows. If the matrix ends within the bundle, the missing rows get the scale 1.
function load_grids(scales: usize, zeros: usize, row: u32, count: u32): void {
  for (let r: u32 = 0; r < BUNDLE_ROWS; r++) {
    const at = <usize>(row + r) << 2, lane = <usize>r << 2;
    store<f32>(row_scales() + lane, r < count ? load<f32>(scales + at) : 1);
    store<f32>(row_zeros() + lane, r < count ? load<f32>(zeros + at) : 0);
  }
}

// Computes and stores the grid of the columns start … stop−1 for each row of a bundle.
function fit_grid(args: QuantizeBlockArgs, row: u32, count: u32, start: u32, stop: u32): void {
  const maxCode = <f32>args.max_code, symmetric = args.symmetric == 1, grids = args.grids;
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    let low = f32x4.splat(0), high = low;
    for (let j = start; j < stop; j++) {
      const w = v128.load(weights(j) + half);
      low = f32x4.min(low, w);
      high = f32x4.max(high, w);
    }
    const scale = grid_scale(low, high, maxCode, symmetric);
    v128.store(row_scales() + half, scale);
    v128.store(row_zeros() + half, grid_zero(low, scale, maxCode, symmetric));
  }
  const group = (args.first + start) / args.grid_size;
  for (let r: u32 = 0; r < count; r++) {
    const at = <usize>((row + r) * grids + group) << 2, lane = <usize>r << 2;
    store<f32>(args.scales + at, load<f32>(row_scales() + lane));
    store<f32>(args.zeros + at, load<f32>(row_zeros() + lane));
  }
}
