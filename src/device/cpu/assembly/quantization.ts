// The CPU twins of the kernels in shaders/quantization.wgsl. They compute the grids of whole rows, and encode rounded
// weights. A work item is some rows, some grids or some whole words of codes.

import { EncodeCodesArgs, FitGridsArgs, RowExtremesArgs } from "./args";
import { grid_scale, grid_zero } from "./shared/quantization_grid";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;

export function row_extremes_rows(args: RowExtremesArgs, first: u32, end: u32): void {
  const cols = args.cols;
  for (let r = first; r < end; r++) {
    const low = args.lows + (<usize>(args.row0 + r) << 2), high = args.highs + (<usize>(args.row0 + r) << 2);
    const row = args.w + (<usize>(r * args.ld) << 2);
    let lows = v128.load32_splat(low), highs = v128.load32_splat(high);
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      const weights = v128.load(row + (<usize>c << 2));
      lows = f32x4.min(lows, weights);
      highs = f32x4.max(highs, weights);
    }
    for (; c < cols; c++) {
      const weight = v128.load32_splat(row + (<usize>c << 2));
      lows = f32x4.min(lows, weight);
      highs = f32x4.max(highs, weight);
    }
    store<f32>(low, min(min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1)), min(f32x4.extract_lane(lows, 2), f32x4.extract_lane(lows, 3))));
    store<f32>(high, max(max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1)), max(f32x4.extract_lane(highs, 2), f32x4.extract_lane(highs, 3))));
  }
}

export function fit_grids_elements(args: FitGridsArgs, first: u32, count: u32): void {
  const symmetric = args.symmetric == 1, max_code = <f32>args.max_code;
  for (let i = first; i < first + count; i++) {
    const at = <usize>i << 2;
    const low = v128.load32_splat(args.scales + at), high = v128.load32_splat(args.zeros + at);
    const scale = grid_scale(low, high, max_code, symmetric, args.searched == 1, args.scale_dtype);
    store<f32>(args.scales + at, f32x4.extract_lane(scale, 0));
    store<f32>(args.zeros + at, f32x4.extract_lane(grid_zero(low, scale, max_code, symmetric), 0));
  }
}

export function encode_codes_elements(args: EncodeCodesArgs, first: u32, count: u32): void {
  const end = first + count;
  const cols = args.cols, size = args.grid_size == 0 ? cols : args.grid_size;
  const q = args.q + (<usize>args.q_offset << 2), codes = args.codes;
  let i = first;
  // Each iteration handles the elements that share a grid, as far as they belong to the item.
  while (i < end) {
    const r = i / cols, c = i % cols, group = c / size;
    const at = <usize>((args.row0 + r) * args.grids + group) << 2;
    const stop = min<u32>(end, r * cols + min<u32>(cols, (group + 1) * size));
    encode_run(q, codes, i, stop, load<f32>(args.scales + at), load<f32>(args.zeros + at));
    i = stop;
  }
  // Fills the last word with zeros. Only the last item can end within a word, because the number of elements of every
  // other item is a multiple of four.
  for (; i % 4 != 0; i++) store<u8>(codes + i, 0);
}

// Encodes the elements i … stop−1, which share a grid.
function encode_run(q: usize, codes: usize, i: u32, stop: u32, scale: f32, zero: f32): void {
  const scales = f32x4.splat(scale), zeros = f32x4.splat(zero);
  for (; i < stop && i % 4 != 0; i++) store<u8>(codes + i, <u8>nearest(load<f32>(q + (<usize>i << 2)) / scale + zero));
  for (; i + 4 <= stop; i += 4) {
    const code = f32x4.nearest(f32x4.add(f32x4.div(v128.load(q + (<usize>i << 2)), scales), zeros));
    const words = i32x4.trunc_sat_f32x4_u(code);
    const halves = i16x8.narrow_i32x4_u(words, words);
    v128.store_lane<u32>(codes + i, i8x16.narrow_i16x8_u(halves, halves), 0);
  }
  for (; i < stop; i++) store<u8>(codes + i, <u8>nearest(load<f32>(q + (<usize>i << 2)) / scale + zero));
}
