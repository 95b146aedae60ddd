/** Copies a (rows, cols) submatrix of 32-bit elements from one buffer to another. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { words } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/copy2d.wgsl" with { type: "text" };

/** For r < rows and c < cols: target[target_offset + r·target_ld + c] ← source[source_offset + r·source_ld + c]. */
export const copy2d = defineKernel({
  name: "copy2d",
  bindings: { source: "read", target: "read_write" },
  params: u32("rows", "cols", "source_offset", "source_ld", "target_offset", "target_ld"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [copyCase(37, 41)],
});

/** A case that copies (rows, cols) elements. */
export function copyCase(rows: number, cols: number) {
  const source_ld = cols + 2, target_ld = cols + 6;
  return {
    params: { rows, cols, source_offset: 3, source_ld, target_offset: 5, target_ld },
    buffers: () => ({ source: words(3 + rows * source_ld, 1), target: words(5 + rows * target_ld, 2) }),
  };
}
