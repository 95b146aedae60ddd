// The CPU twins of the kernels in shaders/search_grids.wgsl. src/device/kernels/search_grids.ts describes the search. A
// work item is some rows.

import { ChooseGridsArgs, GridErrorsArgs } from "./args";
import { sum_lanes } from "./shared/lanes";
import { add_grid_error, candidate_scale, candidate_zero, CANDIDATES } from "./shared/quantization_grid";

export const ELEMENTS_PER_ITEM: u32 = 1 << 12;

export function grid_errors_rows(args: GridErrorsArgs, first: u32, end: u32): void {
  const cols = args.cols, symmetric = args.symmetric == 1, maxCode = <f32>args.max_code, stage = args.stage;
  const importance = args.importance + (<usize>args.first << 2);
  for (let r = first; r < end; r++) {
    const at = <usize>(args.row0 + r) << 2, row = args.w + (<usize>(r * args.ld) << 2);
    const start = v128.load32_splat(args.scales + at), startZero = v128.load32_splat(args.zeros + at);
    for (let n: u32 = 0; n < CANDIDATES; n += 2) {
      const scaleA = candidate_scale(start, stage, n, symmetric, args.scale_dtype);
      const scaleB = candidate_scale(start, stage, n + 1, symmetric, args.scale_dtype);
      const zeroA = candidate_zero(startZero, stage, n, maxCode, symmetric);
      const zeroB = candidate_zero(startZero, stage, n + 1, maxCode, symmetric);
      add_row_errors(args.errors + (at << 4) + (<usize>n << 2), row, importance, cols, scaleA, scaleB, zeroA, zeroB, maxCode);
    }
  }
}

// Adds the errors of two grids, A and B, for the columns of a row to the two sums at `sums`. All lanes of a vector of
// scales or zeros are equal.
function add_row_errors(
  sums: usize, row: usize, importance: usize, cols: u32, scaleA: v128, scaleB: v128, zeroA: v128, zeroB: v128, max_code: f32,
): void {
  const inverseA = f32x4.div(f32x4.splat(1), scaleA), inverseB = f32x4.div(f32x4.splat(1), scaleB);
  const lowestA = f32x4.neg(zeroA), lowestB = f32x4.neg(zeroB);
  const highestA = f32x4.sub(f32x4.splat(max_code), zeroA), highestB = f32x4.sub(f32x4.splat(max_code), zeroB);
  let sumA = f32x4.splat(0), sumB = sumA;
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const w = v128.load(row), factor = v128.load(importance);
    sumA = add_grid_error(sumA, scaleA, inverseA, lowestA, highestA, w, factor);
    sumB = add_grid_error(sumB, scaleB, inverseB, lowestB, highestB, w, factor);
    row += 16;
    importance += 16;
  }
  let tailA = f32x4.splat(0), tailB = tailA;
  for (; c < cols; c++) {
    const w = v128.load32_splat(row), factor = v128.load32_splat(importance);
    tailA = add_grid_error(tailA, scaleA, inverseA, lowestA, highestA, w, factor);
    tailB = add_grid_error(tailB, scaleB, inverseB, lowestB, highestB, w, factor);
    row += 4;
    importance += 4;
  }
  store<f32>(sums, load<f32>(sums) + sum_lanes(sumA) + f32x4.extract_lane(tailA, 0));
  store<f32>(sums, load<f32>(sums, 4) + sum_lanes(sumB) + f32x4.extract_lane(tailB, 0), 4);
}

export function choose_grids_elements(args: ChooseGridsArgs, first: u32, count: u32): void {
  const symmetric = args.symmetric == 1, stage = args.stage;
  for (let i = first; i < first + count; i++) {
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
