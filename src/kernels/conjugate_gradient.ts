/**
 * The two updates of a conjugate-gradient step, for many independent systems at once: each row of a matrix is a system of its own. The products
 * with the system's matrix and the dot products of rows are computed by other kernels (`gemm.ts`, `row_dot.ts`). The names are those of the
 * textbook: q is the iterate, r the residual, p the direction, and ap the direction times the matrix.
 *
 * All matrices are tiles, which are the rectangles in which a matrix is stored. They have the same position
 * and the same leading dimension `ld`. `sums`, f32, has `stride` elements per row of the whole matrix. The
 * sums of row r of the tile start at element (row0 + r)·stride, and `numerator` and `denominator` are
 * positions among these sums.
 */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/conjugate_gradient.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols, with a = sums[numerator]/sums[denominator] of the row, or 0 if the denominator is not positive:
 * q ← q + a·p, and r ← r − a·ap where the entry is kept, else 0. The mask is described at `maskedCombine`.
 */
export const cgStep = defineKernel({
  name: "cg_step",
  bindings: { p: "read", ap: "read", mask: "read", sums: "read", q: "read_write", r: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    ld: "u32",
    row0: "u32",
    first: "u32",
    words: "u32",
    stride: "u32",
    numerator: "u32",
    denominator: "u32",
  },
  shader: { code: shared + code, entryPoint: "cg_step", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});

/**
 * For r < rows and c < cols, with b = sums[numerator]/sums[denominator] of the row, or 0 if the denominator is not positive: p ← r + b·p.
 */
export const cgDirection = defineKernel({
  name: "cg_direction",
  bindings: { r: "read", sums: "read", p: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    ld: "u32",
    row0: "u32",
    stride: "u32",
    numerator: "u32",
    denominator: "u32",
  },
  shader: { code: shared + code, entryPoint: "cg_direction", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});
