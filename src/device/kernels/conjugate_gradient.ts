/**
 * The two updates of a conjugate-gradient step, for many independent systems at once: each row of a matrix is a system
 * of its own. The products with the system's matrix and the dot products of rows are computed by other kernels
 * (`gemm.ts`, `row_dot.ts`). As in textbooks, r is the residual, p the direction, and ap the direction times the
 * matrix. The iterate is q.
 *
 * All matrices are tiles with the same position and the same leading dimension `ld`. `sums`, f32, has `stride` elements
 * per row of the whole matrix. The sums of row r of the tile start at element (row0 + r)·stride, and `numerator` and
 * `denominator` are positions among these sums.
 */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { positives, signed, tileParams, type TilePlace, words } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/conjugate_gradient.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols, with a = sums[numerator]/sums[denominator] of the row, or 0 if the denominator is not
 * positive: q ← q + a·p, and r ← r − a·ap where the entry is kept, else 0. The mask is described at `maskedCombine`.
 */
export const cgStep = defineKernel({
  name: "cg_step",
  bindings: { p: "read", ap: "read", mask: "read", sums: "read", q: "read_write", r: "read_write" },
  params: u32("rows", "cols", "ld", "row0", "first", "words", "stride", "numerator", "denominator"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [cgStepCase([29, 70, 3, 40])],
});

/**
 * For r < rows and c < cols, with b = sums[numerator]/sums[denominator] of the row, or 0 if the denominator is not
 * positive: p ← r + b·p.
 */
export const cgDirection = defineKernel({
  name: "cg_direction",
  bindings: { r: "read", sums: "read", p: "read_write" },
  params: u32("rows", "cols", "ld", "row0", "stride", "numerator", "denominator"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [cgDirectionCase([29, 70, 3, 40])],
});

const COLUMNS = { stride: 3, numerator: 0, denominator: 2 };

/** The sums of the rows. In some rows the denominator is not positive. */
function sumsOf(rows: number) {
  return positives(rows * 3, 91).map((value, i) => i % 3 === 2 && i % 5 === 0 ? 1 - value * 2 : value);
}

/** A case of `cgStep`. A division may be off by 2.5 units in the last place in WGSL. */
export function cgStepCase(place: TilePlace) {
  const tile = tileParams(place), { rows, ld, row0 } = tile, count = rows * ld;
  return {
    params: { ...tile, ...COLUMNS },
    buffers: () => ({
      p: signed(count, 109),
      ap: signed(count, 110),
      mask: words((row0 + rows) * tile.words, 90),
      sums: sumsOf(row0 + rows),
      q: signed(count, 111),
      r: signed(count, 112),
    }),
    roundings: { q: 8, r: 8 },
  };
}

/** A case of `cgDirection`. */
export function cgDirectionCase(place: TilePlace) {
  const { rows, cols, ld, row0 } = tileParams(place);
  return {
    params: { rows, cols, ld, row0, ...COLUMNS },
    buffers: () => ({ r: signed(rows * ld, 113), sums: sumsOf(row0 + rows), p: signed(rows * ld, 114) }),
    roundings: { p: 8 },
  };
}
