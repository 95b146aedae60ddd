/**
 * Dot products of the rows of two matrices. With one matrix as both operands, they are the squared norms of its rows.
 */

import { defineKernel, f32, rowGrid, u32 } from "./kernel.ts";
import { positives, signed, sumRoundings } from "./kernel_case.ts";
import code from "../../../shaders/row_dot.wgsl" with { type: "text" };

/** sums[sums_offset + r·sums_stride] += scale·Σ_{c<cols} x[x_offset + r·ldx + c]·y[y_offset + r·ldy + c], r < rows. */
export const rowDot = defineKernel({
  name: "row_dot",
  bindings: { x: "read", y: "read", sums: "read_write" },
  params: {
    ...u32("rows", "cols", "x_offset", "ldx", "y_offset", "ldy", "sums_offset", "sums_stride"),
    ...f32("scale"),
  },
  shader: { code, grid: rowGrid },
  cases: () => [rowDotCase(19, 301)],
});

/** A case with (rows, cols) elements per operand, each with padding of its own. */
export function rowDotCase(rows: number, cols: number) {
  const params = {
    rows,
    cols,
    x_offset: 3,
    ldx: cols + 4,
    y_offset: 2,
    ldy: cols + 3,
    sums_offset: 4,
    sums_stride: 3,
  };
  return {
    params: { ...params, scale: -0.75 },
    buffers: () => ({
      x: positives(3 + rows * params.ldx, 99),
      y: positives(2 + rows * params.ldy, 100),
      sums: signed(rows * 3 + 7, 101),
    }),
    roundings: { sums: sumRoundings(cols) },
  };
}
