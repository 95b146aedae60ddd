// The CPU twins of the kernels in shaders/gather.wgsl. They permute the columns of a matrix, the rows and columns of a
// symmetric matrix, and the columns of a mask. A work item is some whole rows of the target.

import { GatherBitsArgs, GatherColumnsArgs, GatherSymmetricArgs } from "./args";
import { one_bit } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

// Returns the element with index `at` of a buffer of u32.
@inline function element(buffer: usize, at: u32): u32 {
  return load<u32>(buffer + (<usize>at << 2));
}

export function gather_columns_rows(args: GatherColumnsArgs, first: u32, end: u32): void {
  const cols = args.cols, sourceFirst = args.source_first, sourceCols = args.source_cols;
  const order = args.order + (<usize>args.first << 2);
  for (let r = first; r < end; r++) {
    const source = args.source + (<usize>(r * args.source_ld) << 2);
    const target = args.target + (<usize>(r * args.target_ld) << 2);
    for (let c: u32 = 0; c < cols; c++) {
      // If the source column is left of the source tile, the difference wraps around to a large number.
      const s = element(order, c) - sourceFirst;
      if (s < sourceCols) store<u32>(target + (<usize>c << 2), element(source, s));
    }
  }
}

export function gather_symmetric_rows(args: GatherSymmetricArgs, first: u32, end: u32): void {
  const cols = args.cols, source = args.source, sourceLd = args.source_ld;
  const sourceRow0 = args.source_row0, sourceRows = args.source_rows;
  const sourceFirst = args.source_first, sourceCols = args.source_cols;
  const order = args.order + (<usize>args.first << 2);
  for (let r = first; r < end; r++) {
    const i = element(args.order, args.row0 + r);
    const target = args.target + (<usize>(r * args.target_ld) << 2);
    for (let c: u32 = 0; c < cols; c++) {
      const j = element(order, c);
      // If the source row is above the source tile, or the source column left of it, the difference wraps around.
      const a = min<u32>(i, j) - sourceRow0, b = max<u32>(i, j) - sourceFirst;
      if (a < sourceRows && b < sourceCols) store<u32>(target + (<usize>c << 2), element(source, a * sourceLd + b));
    }
  }
}

export function gather_bits_rows(args: GatherBitsArgs, first: u32, end: u32): void {
  const cols = args.cols, order = args.order;
  for (let r = first; r < end; r++) {
    const source = args.source + (<usize>(r * args.words) << 2), target = args.target + (<usize>(r * args.words) << 2);
    for (let word: u32 = 0; word < args.words; word++) {
      const count = min<u32>(32, cols - 32 * word);
      let bits: u32 = 0;
      for (let k: u32 = 0; k < count; k++) bits |= one_bit(source, element(order, 32 * word + k)) << k;
      store<u32>(target + (<usize>word << 2), bits);
    }
  }
}
