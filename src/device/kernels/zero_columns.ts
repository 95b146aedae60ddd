/** Sets the columns of a weight matrix that belong to dead inputs to zero. */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { below, signed } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/zero_columns.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols: if dead[first + c] ≠ 0, then w[r·ld + c] ← 0. `w` is a tile of the weight matrix, whose
 * column 0 is column `first` of the matrix. `dead` has one u32 per column of the matrix.
 */
export const zeroColumns = defineKernel({
  name: "zero_columns",
  bindings: { dead: "read", w: "read_write" },
  params: u32("rows", "cols", "ld", "first"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [zeroColumnsCase(29, 70, 40)],
});

/**
 * A tile of (rows, cols) at column `first`. The inputs for which `isDead` is true are dead. By default it is about
 * every third input.
 */
export function zeroColumnsCase(
  rows: number,
  cols: number,
  first: number,
  isDead?: (column: number) => boolean,
) {
  const ld = cols + 5;
  return {
    params: { rows, cols, ld, first },
    buffers: () => ({
      dead: below(3, first + cols, 97).map((value, c) => isDead ? Number(isDead(c)) : Math.max(0, value - 1)),
      w: signed(rows * ld, 98),
    }),
  };
}
