/** Fills the lower triangle of a tile on the diagonal of a symmetric matrix from its upper triangle. */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { words } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/mirror_upper.wgsl" with { type: "text" };

/** For i < j < size: tile[j·ld + i] ← tile[i·ld + j]. */
export const mirrorUpper = defineKernel({
  name: "mirror_upper",
  bindings: { tile: "read_write" },
  params: u32("size", "ld"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.size * p.size, 256) },
  cases: () => [mirrorUpperCase(45)],
});

export function mirrorUpperCase(size: number) {
  const ld = size + 5;
  return { params: { size, ld }, buffers: () => ({ tile: words(ld * ld, 96) }) };
}
