/** Zeroes the columns of a tile that belong to dead inputs (diag H = 0). */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/zero_columns.wgsl" with { type: "text" };

/** w[r·ld + c] ← 0 for r < rows and every c < cols with dead[first + c] ≠ 0 (u32 flags). */
export const zeroColumns = defineKernel({
  name: "zero_columns",
  bindings: { dead: "read", w: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32", first: "u32" },
  shader: { code: shared + code, entryPoint: "zero_columns", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});
