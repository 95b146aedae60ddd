// The CPU twin of shaders/update_block.wgsl. It adds the lazy batch update to a block of weights, computes the keys of
// the result, and counts their first digits. A work item is some rows of the block. It handles as many rows at a time as
// stay in the cache until their keys are counted.

import { UpdateBlockArgs } from "./args";
import { pack_panels, pack_panels_transposed } from "./shared/gemm_pack";
import { scratch } from "./shared/instance";
import { micro_cols, micro_rows, reads_rows } from "./shared/micro_kernels";
import { multiply_packed } from "./shared/packed_product";
import { add_digits, clear_digits, count_first_digits, DIGIT_BINS, DIGITS_SCRATCH_BYTES, force_row, score_row } from "./shared/select_keys";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;
// The rows that are handled at a time: a multiple of the rows of both kinds of micro-tiles.
const ROWS: u32 = 96;
// MAX_BLOCK_SIZE of src/device/kernels/column_loop.ts, which both sizes of U are at most.
const MAX_SIZE: usize = 256;

// After the histograms, the scratch has packed U, packed A, and one micro-tile. These are the offsets of the last two.
const PACKED_A: usize = DIGITS_SCRATCH_BYTES + MAX_SIZE * MAX_SIZE * 4;
const EDGE_TILE: usize = PACKED_A + <usize>ROWS * MAX_SIZE * 4;

export function update_block_rows(args: UpdateBlockArgs, first: u32, end: u32): void {
  const cols = args.cols, firstColumn = args.first;
  const scale = args.scale + (<usize>firstColumn << 2);
  clear_digits(DIGIT_BINS);
  const packedU = scratch() + DIGITS_SCRATCH_BYTES;
  pack_panels(args.u + (<usize>args.u_offset << 2), args.ldu, cols, args.depth, micro_cols(), packedU);
  for (let r = first; r < end; r += ROWS) {
    const rows = min<u32>(ROWS, end - r);
    load_updated(args, r, rows, packedU);
    for (let row = args.row0 + r; row < args.row0 + r + rows; row++) {
      const keys = args.keys + (<usize>(row * cols) << 2);
      score_row(args.work + (<usize>(row * args.ldwork) << 2), scale, keys, cols);
      if (args.has_forced == 1) force_row(args.forced + (<usize>(row * args.words) << 2), firstColumn, keys, cols);
      count_first_digits(keys, cols, 21);
    }
  }
  add_digits(args.digits, DIGIT_BINS);
}

// work ← W + A·U for `rows` rows of the dispatch from row `r` on. Without earlier blocks `depth` is 0, and A is not read.
function load_updated(args: UpdateBlockArgs, r: u32, rows: u32, packedU: usize): void {
  const cols = args.cols, depth = args.depth, ldwork = <usize>args.ldwork << 2;
  const work = args.work + (args.row0 + r) * ldwork, w = args.w + (<usize>(args.w_offset + r * args.ldw) << 2);
  for (let i: u32 = 0; i < rows; i++) {
    memory.copy(work + i * ldwork, w + (<usize>(i * args.ldw) << 2), <usize>cols << 2);
  }
  if (depth == 0) return;
  const tile = scratch() + EDGE_TILE, direct = reads_rows(rows, depth);
  let a = args.a + (<usize>(args.a_offset + r * args.lda) << 2);
  if (!direct) {
    pack_panels_transposed(a, args.lda, rows, depth, micro_rows(), scratch() + PACKED_A);
    a = scratch() + PACKED_A;
  }
  const lda = direct ? <usize>args.lda << 2 : 0;
  multiply_packed(depth, a, lda, packedU, depth, tile, work, ldwork, rows, cols, 1, 1, false, 0, true);
}
