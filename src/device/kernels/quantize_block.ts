/**
 * Prunes one block of columns and rounds the weights that it keeps, in one pass over the columns (SparseGPT, arXiv
 * 2301.00774, section 3.5, and GPTQ, arXiv 2210.17323). The loop and the buffers are the same as in `prune_block.ts`.
 * In column j of a row, where w are the weights of the row with the updates so far:
 *   q = 0 if the entry is pruned, else the value of the grid that is nearest to w[j];
 *   err = (w[j] − q)/U[j,j];  w[c] −= err·U[j,c] for c > j.
 */

import { defineKernel, u32 } from "./kernel.ts";
import { below, positives, sumRoundings } from "./kernel_case.ts";
import {
  type BlockOptions,
  columnLoopBindings,
  columnLoopCase,
  columnLoopParams,
  columnLoopShader,
  HARDWARE,
  SOFTWARE,
} from "./column_loop.ts";
import quantizationGrid from "../../../shaders/shared/quantization_grid.wgsl" with { type: "text" };
import code from "../../../shaders/quantize_block.wgsl" with { type: "text" };

/**
 * Prunes the entries whose mask bit is 0 before the dispatch. With `group` > 0 it also prunes in an n:m pattern: each
 * row keeps at most `keep` entries of each group of `group` consecutive columns, chosen by the rule of
 * `prune_block_n_m`. The entries whose mask bit was 0 are the forced entries of that rule. Afterwards the mask has 1
 * where an entry is kept.
 *
 * A kept weight is rounded to a grid, which is a set of values with the codes 0 … `max_code`.
 * `src/tensor/quantization.ts` has the formulas. `scales` and `zeros`, f32, have `grids` elements per row of the
 * matrix: element (row0 + r)·grids + g has the scale or the zero point of grid g.
 *
 * - If `grid_size` = 0, `grids` is 1, and the kernel only reads both buffers (see `row_extremes`).
 * - If `grid_size` > 0, that many consecutive columns share a grid, and `first` is a multiple of it. When the loop
 *   reaches the first of these columns, the kernel computes their grid from their weights with the updates so far,
 *   pruned or not. Then it stores the grid. `grid_size` must be a multiple of `group`. If `searched` is 1, the kernel
 *   searches the grid, as `search_grids.ts` describes it, with the importance 1/U[j,j] of column j. Then entries that
 *   the mask has as pruned count as weights of 0. `scale_dtype` is a number of `DTYPE_CODE`.
 * - If `scale_limit` > 0, which needs `grid_size` > 0, the scales have two levels. A scale is an integer of at most this
 *   magnitude times a factor, which all columns of the block share. `scale_dtype` is the dtype of the factor. The kernel computes
 *   the factor at the start. It is not stored. An asymmetric grid is free if no weight of its columns is 0 or pruned and `group`
 *   is 0. Then `zeros` has the code of 0 as a fraction.
 */
export const quantizeBlock = defineKernel({
  name: "quantize_block",
  bindings: { ...columnLoopBindings, scales: "read_write", zeros: "read_write" },
  params: {
    ...columnLoopParams,
    ...u32("keep", "group", "grid_size", "grids", "max_code", "symmetric", "searched"),
    ...u32("scale_dtype", "scale_limit"),
  },
  shader: columnLoopShader(quantizationGrid + code, HARDWARE),
  // A search of grids stores weights in the workgroup memory of the results.
  softwareShader: columnLoopShader(quantizationGrid + code, { ...SOFTWARE, KEPT: HARDWARE.KEPT }),
  cases: () => ROUNDED.map(quantizeBlockCase),
});

/** The block of a case, its rounding, and what is added to its weights. */
interface RoundedBlock
  extends
    BlockOptions,
    Readonly<Record<"size" | "bits" | "symmetric" | "grid_size" | "keep" | "group", number>> {
  readonly isAligned: boolean;
  readonly searched?: number;
  readonly scale_dtype?: number;
  readonly scale_limit?: number;
}

const ALL_KEPT = { keep: 0, group: 0 }, TWO_LEVELS = { ...ALL_KEPT, searched: 1, scale_dtype: 1 };
const SMALL_GRIDS = { isAligned: true, bits: 4, symmetric: 0, grid_size: 4 };
const ROUNDED: readonly RoundedBlock[] = [
  { size: 128, isAligned: false, bits: 4, symmetric: 0, grid_size: 0, ...ALL_KEPT },
  // The largest magnitude of every symmetric grid is positive, because f32 decides how a negative value is rounded.
  { size: 128, isAligned: true, bits: 3, symmetric: 1, grid_size: 32, keep: 2, group: 4, shift: 0.25 },
  { size: 256, isAligned: true, bits: 4, symmetric: 0, grid_size: 64, ...ALL_KEPT },
  { size: 77, isAligned: true, bits: 2, symmetric: 0, grid_size: 0, keep: 5, group: 16 },
  // All weights of a grid have the same sign, so that the grid must still begin or end at 0.
  { size: 44, ...SMALL_GRIDS, ...ALL_KEPT, shift: 1 },
  { size: 40, ...SMALL_GRIDS, ...ALL_KEPT, shift: -1 },
  {
    size: 96,
    isAligned: true,
    bits: 4,
    symmetric: 1,
    grid_size: 32,
    ...ALL_KEPT,
    searched: 1,
    scale_dtype: 1,
  },
  { size: 77, isAligned: true, bits: 3, symmetric: 0, grid_size: 16, keep: 2, group: 4, searched: 1 },
  { size: 128, isAligned: true, bits: 3, symmetric: 1, grid_size: 16, ...TWO_LEVELS, scale_limit: 31 },
  { size: 96, isAligned: true, bits: 4, symmetric: 0, grid_size: 32, ...TWO_LEVELS, scale_limit: 63 },
  { size: 44, ...SMALL_GRIDS, ...TWO_LEVELS, scale_limit: 63, shift: 1 },
  { size: 40, ...SMALL_GRIDS, ...TWO_LEVELS, scale_limit: 63, shift: -1 },
];

export function quantizeBlockCase(
  { size, isAligned, bits, shift, rows, first, ...rounding }: RoundedBlock,
) {
  const { params, buffers, roundings } = columnLoopCase(size, isAligned, { rows, first, shift });
  const { searched = 0, scale_dtype = 0, scale_limit = 0, ...options } = rounding, { grid_size } = options;
  const grids = grid_size ? params.first / grid_size + Math.ceil(size / grid_size) + 1 : 1;
  const count = (params.row0 + params.rows) * grids, codes = 2 ** bits;
  return {
    feature: `${size} columns, ${codes} codes, ${grid_size || "all"} columns per grid${
      searched ? ", searched" : ""
    }${scale_limit ? ", two levels" : ""}`,
    params: { ...params, ...options, max_code: codes - 1, grids, searched, scale_dtype, scale_limit },
    buffers: () => ({
      ...buffers(),
      scales: positives(count, 308).map((value) => 3 * value / codes),
      zeros: Float32Array.from(below(codes, count, 309)),
    }),
    roundings: {
      ...roundings,
      scales: 4 * sumRoundings(size),
      // The zero of a free grid is a quotient, and a division in WGSL may be off by 2.5 units in the last place.
      ...scale_limit > 0 && options.symmetric === 0 && { zeros: 4 },
    },
  };
}
