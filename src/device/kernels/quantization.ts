/**
 * The kernels that run before and after `quantize_block`: they compute the grids of whole rows, and encode rounded
 * weights. The formulas of a grid are in `src/tensor/quantization.ts`.
 */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { below, filled, positives, signed, UNTOUCHED, words } from "./kernel_case.ts";
import linear from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import quantizationGrid from "../../../shaders/shared/quantization_grid.wgsl" with { type: "text" };
import source from "../../../shaders/quantization.wgsl" with { type: "text" };

const code = linear + quantizationGrid + source;

/**
 * For r < rows: lows[row0 + r] ← min(lows[row0 + r], w[r·ld + c] for all c < cols), and highs likewise with max. A
 * dispatch handles one tile. Both buffers must be 0 before the first tile of a row. After its last tile, they hold the
 * smallest and the largest of 0 and the weights of the row.
 */
export const rowExtremes = defineKernel({
  name: "row_extremes",
  bindings: { w: "read", lows: "read_write", highs: "read_write" },
  params: u32("rows", "cols", "ld", "row0"),
  shader: { code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () => [rowExtremesCase(19, 301)],
});

/**
 * For i < count: replaces the extremes of some weights by the scale and the zero point of their grid. Before the
 * dispatch, scales[i] ≤ 0 is the smallest weight and zeros[i] ≥ 0 the largest. The zero point is the code of 0. If the
 * grid is the start of a search (`search_grids.ts`), `searched` is 1. `scale_dtype` is a number of `DTYPE_CODE`.
 */
export const fitGrids = defineKernel({
  name: "fit_grids",
  bindings: { scales: "read_write", zeros: "read_write" },
  params: u32("count", "max_code", "symmetric", "searched", "scale_dtype"),
  shader: { code, grid: (p) => linearGrid(p.count, 64) },
  cases: () => [
    ...[[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 1], [0, 1, 2]].map((options) => fitGridsCase(options)),
    // Scales below 2⁻¹⁴ are subnormal in f16.
    fitGridsCase([0, 0, 1], 2 ** -13),
  ],
});

/**
 * For i < count: byte i of `codes` ← the code of q[q_offset + i], which is a value of its grid. The elements
 * are whole rows of a matrix with `cols` columns, from row `row0` on, without gaps between the rows. `scales` and
 * `zeros` have `grids` elements per row of the matrix. Each element belongs to `grid_size` columns, or to a whole row
 * if `grid_size` is 0. The unused bytes of the last word become 0.
 */
export const encodeCodes = defineKernel({
  name: "encode_codes",
  bindings: { q: "read", scales: "read", zeros: "read", codes: "read_write" },
  params: u32("count", "cols", "q_offset", "row0", "grid_size", "grids"),
  shader: { code, grid: (p) => linearGrid(Math.ceil(p.count / 4), 256) },
  cases: () => [0, 8].map((grid_size) => encodeCodesCase(1423, 43, grid_size)),
});

/** A tile in which some rows are all positive, and some rows have smaller or larger extremes from earlier tiles. */
export function rowExtremesCase(rows: number, cols: number) {
  const ld = cols + 4, row0 = 2;
  return {
    params: { rows, cols, ld, row0 },
    buffers: () => ({
      w: signed(rows * ld, 310).map((value, i) => Math.floor(i / ld) % 7 === 3 ? Math.abs(value) : value),
      lows: filled(row0 + rows + 2, 0).map((_, i) => i % 5 === 0 ? -2 : 0),
      highs: filled(row0 + rows + 2, 0).map((_, i) => i % 4 === 0 ? 2 : 0),
    }),
  };
}

/** Grids of weights up to `magnitude`. */
function fitGridsCase([symmetric, searched, scale_dtype]: readonly number[], magnitude = 1) {
  return {
    feature: `${magnitude < 1 ? "small, " : ""}${symmetric ? "symmetric" : "asymmetric"}, ${
      searched ? "the start of a search" : "as published"
    }, scales of dtype ${scale_dtype}`,
    params: { count: 75, max_code: 15, symmetric, searched, scale_dtype },
    buffers: () => ({
      // Some scales are just above the smallest normal number.
      scales: signed(80, 312).map((value, i) =>
        i % 7 === 5 ? -1.125 * 15 * 2 ** -126 : i % 9 === 0 ? 0 : -magnitude * Math.abs(value)
      ),
      zeros: signed(80, 313).map((value, i) => i % 7 === 5 || i % 6 === 0 ? 0 : magnitude * Math.abs(value)),
    }),
    roundings: { scales: 8 },
    includes: { zeros: (i: number) => i < 75 },
  };
}

/** A case of `count` weights in rows of `cols`, with codes of `bits` bits. */
export function encodeCodesCase(count: number, cols: number, grid_size: number, bits = 4) {
  const grids = grid_size ? Math.ceil(cols / grid_size) : 1, row0 = 2, q_offset = 5, limit = 2 ** bits;
  const gridCount = (row0 + Math.ceil(count / cols)) * grids;
  return {
    feature: `${grid_size || "all"} columns per grid`,
    params: { count, cols, q_offset, row0, grid_size, grids },
    buffers: () => {
      const scales = positives(gridCount, 314), zeros = Float32Array.from(below(limit, gridCount, 315));
      const q = Float32Array.from(below(limit, q_offset + count, 316), (code, at) => {
        const i = Math.max(0, at - q_offset), group = grid_size ? Math.floor(i % cols / grid_size) : 0;
        const grid = (row0 + Math.floor(i / cols)) * grids + group;
        return (code - zeros[grid]) * scales[grid];
      });
      return { q, scales, zeros, codes: words(Math.ceil(count / 4) + 4, UNTOUCHED) };
    },
  };
}
