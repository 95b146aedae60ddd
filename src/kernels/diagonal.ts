/** Reads and writes the diagonal of a diagonal tile, and completes a tile of which one triangle is known. */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/diagonal.wgsl" with { type: "text" };

/** diagonal[first + i] ← tile[(row + i)·ld + col + i] for i < count. */
export const getDiagonal = defineKernel({
  name: "get_diagonal",
  bindings: { tile: "read", diagonal: "read_write" },
  params: { count: "u32", row: "u32", col: "u32", ld: "u32", first: "u32" },
  shader: { code: shared + code, entryPoint: "get_diagonal", grid: (p) => linearGrid(p.count, 64) },
});

/** tile[i·ld + i] ← diagonal[first + i] for i < count. */
export const setDiagonal = defineKernel({
  name: "set_diagonal",
  bindings: { diagonal: "read", tile: "read_write" },
  params: { count: "u32", ld: "u32", first: "u32" },
  shader: { code: shared + code, entryPoint: "set_diagonal", grid: (p) => linearGrid(p.count, 64) },
});

/** tile[j·ld + i] ← tile[i·ld + j] for i < j < size: the lower triangle becomes the mirror of the upper. */
export const mirrorUpper = defineKernel({
  name: "mirror_upper",
  bindings: { tile: "read_write" },
  params: { size: "u32", ld: "u32" },
  shader: { code: shared + code, entryPoint: "mirror_upper", grid: (p) => linearGrid(p.size * p.size, 256) },
});
