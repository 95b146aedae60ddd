// The CPU versions of the kernels in shaders/search_grids.wgsl, with the same results. src/device/kernels/search_grids.ts
// describes the search. A work item, which one thread runs, is some rows.

import { row_items, rows_per_item, ceil_divide } from "./shared/items";
import { sum_lanes } from "./shared/lanes";
import { add_grid_error, candidate_scale, candidate_zero, CANDIDATES } from "./shared/quantization_grid";

const ELEMENTS_PER_ITEM: u32 = 1 << 12;
// The number of grids per work item of choose_grids.
const GRIDS_PER_ITEM: u32 = 1 << 8;

@unmanaged class GridErrorsArgs {
  w: usize;
  importance: usize;
  scales: usize;
  zeros: usize;
  errors: usize;
  rows: u32;
  cols: u32;
  ld: u32;
  row0: u32;
  first: u32;
  stage: u32;
  max_code: u32;
  symmetric: u32;
  scale_dtype: u32;
}

@unmanaged class ChooseGridsArgs {
  errors: usize;
  scales: usize;
  zeros: usize;
  count: u32;
  stage: u32;
  max_code: u32;
  symmetric: u32;
  scale_dtype: u32;
}

export function grid_errors_items(args: GridErrorsArgs): u32 {
  return row_items(args.rows, args.cols, ELEMENTS_PER_ITEM);
}

export function grid_errors(args: GridErrorsArgs, item: u32): void {
  const cols = args.cols, symmetric = args.symmetric == 1, maxCode = <f32>args.max_code, stage = args.stage;
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM), importance = args.importance + (<usize>args.first << 2);
  const first = item * step, end = min<u32>(args.rows, first + step);
  for (let r = first; r < end; r++) {
    const at = <usize>(args.row0 + r) << 2, row = args.w + (<usize>(r * args.ld) << 2);
    const start = v128.load32_splat(args.scales + at), startZero = v128.load32_splat(args.zeros + at);
    for (let n: u32 = 0; n < CANDIDATES; n++) {
      const scale = candidate_scale(start, stage, n, symmetric, args.scale_dtype);
      const zero = candidate_zero(startZero, stage, n, maxCode, symmetric);
      const sum = args.errors + (at << 4) + (<usize>n << 2);
      store<f32>(sum, load<f32>(sum) + row_error(row, importance, cols, scale, zero, maxCode));
    }
  }
}

// Returns the error of one grid for the columns of a row. All lanes of `scale` and `zero` are equal.
function row_error(row: usize, importance: usize, cols: u32, scale: v128, zero: v128, max_code: f32): f32 {
  const inverse = f32x4.div(f32x4.splat(1), scale), lowest = f32x4.neg(zero);
  const highest = f32x4.sub(f32x4.splat(max_code), zero);
  let even = f32x4.splat(0), odd = even;
  let c: u32 = 0;
  for (; c + 8 <= cols; c += 8) {
    even = add_grid_error(even, scale, inverse, lowest, highest, v128.load(row), v128.load(importance));
    odd = add_grid_error(odd, scale, inverse, lowest, highest, v128.load(row, 16), v128.load(importance, 16));
    row += 32;
    importance += 32;
  }
  let tail = f32x4.splat(0);
  for (; c < cols; c++) {
    tail = add_grid_error(tail, scale, inverse, lowest, highest, v128.load32_splat(row), v128.load32_splat(importance));
    row += 4;
    importance += 4;
  }
  return sum_lanes(f32x4.add(even, odd)) + f32x4.extract_lane(tail, 0);
}

export function choose_grids_items(args: ChooseGridsArgs): u32 {
  return ceil_divide(args.count, GRIDS_PER_ITEM);
}

export function choose_grids(args: ChooseGridsArgs, item: u32): void {
  const end = min<u32>(args.count, (item + 1) * GRIDS_PER_ITEM), symmetric = args.symmetric == 1, stage = args.stage;
  for (let i = item * GRIDS_PER_ITEM; i < end; i++) {
    const at = <usize>i << 2, errors = args.errors + (at << 4);
    let best: u32 = 0;
    for (let n: u32 = 1; n < CANDIDATES; n++) {
      if (load<f32>(errors + (<usize>n << 2)) < load<f32>(errors + (<usize>best << 2))) best = n;
    }
    memory.fill(errors, 0, <usize>CANDIDATES << 2);
    const scale = candidate_scale(v128.load32_splat(args.scales + at), stage, best, symmetric, args.scale_dtype);
    const zero = candidate_zero(v128.load32_splat(args.zeros + at), stage, best, <f32>args.max_code, symmetric);
    store<f32>(args.scales + at, f32x4.extract_lane(scale, 0));
    store<f32>(args.zeros + at, f32x4.extract_lane(zero, 0));
  }
}
