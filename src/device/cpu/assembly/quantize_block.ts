// The CPU twin of shaders/quantize_block.wgsl. src/device/kernels/quantize_block.ts describes the method and the
// buffers. A work item is some rows of a block of columns. The loop over the columns is in shared/column_loop.ts. It
// applies the errors of earlier columns to one panel of columns at a time. Here a panel is the columns that share a
// grid, because a grid is computed from up-to-date weights. With one grid per row, a panel is a group of the n:m
// pattern, or PANEL columns if there is no such pattern.

import { QuantizeBlockArgs } from "./args";
import { choose_in_group, end_of_item, load_forced, load_weights, pack_block, PANEL, row_bundle_items, ROWS_PER_ITEM, subtract_before, sweep_columns } from "./shared/column_loop";
import { store_rows } from "./shared/store_rows";
import { BUNDLE_ROWS, COLUMN_BYTES, pruned, reciprocal, row_factors, row_free, row_offsets, row_scales, row_zeros, temporary, weights } from "./shared/prune_bundle";
import { add_grid_error, candidate_scale, candidate_zero, CANDIDATES, grid_offset, grid_scale, grid_zero, least_factor, nonzero_scale, round_scale, round_to_multiple, round_zero } from "./shared/quantization_grid";
import { ceil_divide } from "./shared/items";

// After this many columns, a search checks whether a candidate can still be the best of any row.
const CHECKED_COLUMNS: u32 = 8;

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
    if (args.scale_limit > 0) fit_factors(args);
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

// Loads the grids of a bundle. If the matrix ends within the bundle, the missing rows get the scale 1.
function load_grids(scales: usize, zeros: usize, row: u32, count: u32): void {
  for (let r: u32 = 0; r < BUNDLE_ROWS; r++) {
    const at = <usize>(row + r) << 2, lane = <usize>r << 2;
    store<f32>(row_scales() + lane, r < count ? load<f32>(scales + at) : 1);
    store<f32>(row_zeros() + lane, r < count ? load<f32>(zeros + at) : 0);
    store<f32>(row_offsets() + lane, 0);
  }
}

// Returns column j of half a bundle as a grid sees it. For a search, a pruned entry is 0, so that it adds no error.
@inline function grid_weights(j: u32, half: usize, searched: bool): v128 {
  const w = v128.load(weights(j) + half);
  return searched ? v128.andnot(w, v128.load(pruned(j) + half)) : w;
}

// Computes the factors of the scales of a bundle, with which no group of the block needs a larger integer than the limit.
function fit_factors(args: QuantizeBlockArgs): void {
  const maxCode = <f32>args.max_code, symmetric = args.symmetric == 1, searched = args.searched == 1, size = args.size;
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    let factor = f32x4.splat(0);
    for (let start: u32 = 0; start < size; start += args.grid_size) {
      let low = f32x4.splat(0), high = low;
      for (let j = start; j < min<u32>(start + args.grid_size, size); j++) {
        const w = grid_weights(j, half, searched);
        low = f32x4.min(low, w);
        high = f32x4.max(high, w);
      }
      factor = f32x4.max(factor, least_factor(low, high, maxCode, symmetric, searched, args.scale_limit));
    }
    v128.store(row_factors() + half, round_scale(nonzero_scale(factor), args.scale_dtype));
  }
}

// Computes and stores the grid of the columns start … stop−1 for each row of a bundle. With two levels, a scale is
// rounded last, because the zero decides which integers are allowed. An asymmetric grid is free if it has two levels and
// no weight of the columns is 0 or pruned.
function fit_grid(args: QuantizeBlockArgs, row: u32, count: u32, start: u32, stop: u32): void {
  const maxCode = <f32>args.max_code, symmetric = args.symmetric == 1, searched = args.searched == 1, grids = args.grids;
  const limit = args.scale_limit, dtype: u32 = limit > 0 ? 0 : args.scale_dtype;
  const fixed = i32x4.splat(limit > 0 && !symmetric && args.group == 0 ? 0 : -1);
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    let low = f32x4.splat(0), high = low, contains0 = fixed;
    for (let j = start; j < stop; j++) {
      const w = grid_weights(j, half, searched);
      contains0 = v128.or(contains0, v128.or(v128.load(pruned(j) + half), f32x4.eq(w, f32x4.splat(0))));
      if (searched) v128.store(temporary(j) + half, w);
      low = f32x4.min(low, w);
      high = f32x4.max(high, w);
    }
    let scale = grid_scale(low, high, maxCode, symmetric, searched, dtype);
    const free = v128.not(contains0), factor = v128.load(row_factors() + half);
    let zero = grid_zero(low, scale, maxCode, symmetric, free);
    if (limit > 0) {
      scale = round_to_multiple(scale, zero, factor, limit, maxCode, free);
      zero = round_zero(zero, scale, factor, limit, maxCode, free);
    }
    v128.store(row_scales() + half, scale);
    v128.store(row_zeros() + half, zero);
    v128.store(row_free() + half, free);
  }
  if (searched) {
    search_stage(args, start, stop, 0);
    search_stage(args, start, stop, 1);
  }
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    v128.store(row_offsets() + half, offset_of(v128.load(row_zeros() + half), v128.load(row_scales() + half), half));
  }
  const group = (args.first + start) / args.grid_size;
  for (let r: u32 = 0; r < count; r++) {
    const at = <usize>((row + r) * grids + group) << 2, lane = <usize>r << 2;
    store<f32>(args.scales + at, load<f32>(row_scales() + lane));
    store<f32>(args.zeros + at, load<f32>(row_zeros() + lane));
  }
}

// Returns the offsets of grids of half a bundle, which are 0 if the grids contain 0.
function offset_of(zero: v128, scale: v128, half: usize): v128 {
  return v128.and(grid_offset(zero, scale, v128.load(row_factors() + half)), v128.load(row_free() + half));
}

// Replaces the grid of each row by its candidate with the smallest error for the weights in the temporary bundle.
function search_stage(args: QuantizeBlockArgs, start: u32, stop: u32, stage: u32): void {
  const maxCode = <f32>args.max_code, symmetric = args.symmetric == 1;
  const limit = args.scale_limit, dtype: u32 = limit > 0 ? 0 : args.scale_dtype;
  const start0 = v128.load(row_scales()), start1 = v128.load(row_scales(), 16);
  const zero0 = v128.load(row_zeros()), zero1 = v128.load(row_zeros(), 16);
  const free0 = v128.load(row_free()), free1 = v128.load(row_free(), 16);
  const factor0 = v128.load(row_factors()), factor1 = v128.load(row_factors(), 16);
  let best0 = f32x4.splat(Infinity), best1 = best0;
  for (let n: u32 = 0; n < CANDIDATES; n++) {
    let scaleA = candidate_scale(start0, stage, n, symmetric, dtype), scaleB = candidate_scale(start1, stage, n, symmetric, dtype);
    let zeroA = candidate_zero(zero0, stage, n, maxCode, symmetric, free0), zeroB = candidate_zero(zero1, stage, n, maxCode, symmetric, free1);
    if (limit > 0) {
      if (n > 0) {
        scaleA = round_to_multiple(scaleA, zeroA, factor0, limit, maxCode, free0);
        scaleB = round_to_multiple(scaleB, zeroB, factor1, limit, maxCode, free1);
      }
      zeroA = round_zero(zeroA, scaleA, factor0, limit, maxCode, free0);
      zeroB = round_zero(zeroB, scaleB, factor1, limit, maxCode, free1);
    }
    const offsetA = offset_of(zeroA, scaleA, 0), offsetB = offset_of(zeroB, scaleB, 16);
    const inverseA = f32x4.div(f32x4.splat(1), scaleA), inverseB = f32x4.div(f32x4.splat(1), scaleB);
    const lowestA = f32x4.neg(f32x4.floor(zeroA)), lowestB = f32x4.neg(f32x4.floor(zeroB));
    const highestA = f32x4.add(f32x4.splat(maxCode), lowestA), highestB = f32x4.add(f32x4.splat(maxCode), lowestB);
    let sumA = f32x4.splat(0), sumB = sumA;
    for (let first = start; first < stop; first += CHECKED_COLUMNS) {
      const last = min<u32>(first + CHECKED_COLUMNS, stop);
      for (let j = first; j < last; j++) {
        const importance = v128.load32_splat(reciprocal(j)), w = temporary(j);
        sumA = add_grid_error(sumA, scaleA, inverseA, lowestA, highestA, f32x4.add(v128.load(w), offsetA), importance);
        sumB = add_grid_error(sumB, scaleB, inverseB, lowestB, highestB, f32x4.add(v128.load(w, 16), offsetB), importance);
      }
      // Sums of squares never become smaller, so the candidate has lost.
      if (i32x4.all_true(v128.and(f32x4.ge(sumA, best0), f32x4.ge(sumB, best1)))) break;
    }
    const lessA = f32x4.lt(sumA, best0), lessB = f32x4.lt(sumB, best1);
    best0 = v128.bitselect(sumA, best0, lessA);
    best1 = v128.bitselect(sumB, best1, lessB);
    store_where(lessA, row_scales(), scaleA);
    store_where(lessB, row_scales() + 16, scaleB);
    store_where(lessA, row_zeros(), zeroA);
    store_where(lessB, row_zeros() + 16, zeroB);
  }
}

@inline function store_where(condition: v128, target: usize, values: v128): void {
  v128.store(target, v128.bitselect(values, v128.load(target), condition));
}
