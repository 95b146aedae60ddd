/**
 * Sums of the squares of each column of a matrix. If the rows are the inputs of a linear layer, the sums are the
 * diagonal of the layer's Hessian Σ x·xᵀ.
 */

import { defineKernel, u32 } from "./kernel.ts";
import { type KernelCase, positives, signed, sumRoundings } from "./kernel_case.ts";
import code from "../../../shaders/column_squares.wgsl" with { type: "text" };

/** The columns per workgroup, as in the shader. */
const COLUMNS = 16;

/** For c < cols: sums[c] += Σ_{r < rows} x[x_offset + r·ldx + c]². */
export const columnSquares = defineKernel({
  name: "column_squares",
  bindings: { x: "read", sums: "read_write" },
  params: u32("rows", "cols", "x_offset", "ldx"),
  shader: { code, grid: (p) => [Math.ceil(p.cols / COLUMNS), 1, 1] },
  cases: () => [columnSquaresCase(133, 70)],
});

/** A case with (rows, cols) elements, padding after each row, and more sums than columns. */
export function columnSquaresCase(
  rows: number,
  cols: number,
): KernelCase<"x" | "sums", "rows" | "cols" | "x_offset" | "ldx"> {
  const x_offset = 3, ldx = cols + 5;
  return {
    params: { rows, cols, x_offset, ldx },
    buffers: () => ({ x: signed(x_offset + rows * ldx, 102), sums: positives(cols + 5, 103) }),
    roundings: { sums: sumRoundings(rows) },
  };
}
