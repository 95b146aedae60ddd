/**
 * Kernels on a diagonal tile of a symmetric matrix. A tile is a square part of the matrix in a buffer of its
 * own. The kernels read the diagonal of the tile, overwrite it, and fill the lower triangle of the tile from
 * the upper one.
 */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/diagonal.wgsl" with { type: "text" };

/**
 * For i < count: diagonal[first + i] ← tile[(row + i)·ld + col + i]. The diagonal that is read starts at row
 * `row` and column `col` of the buffer, which may also hold some rows of the matrix instead of a tile.
 */
export const getDiagonal = defineKernel({
  name: "get_diagonal",
  bindings: { tile: "read", diagonal: "read_write" },
  params: { count: "u32", row: "u32", col: "u32", ld: "u32", first: "u32" },
  shader: { code: shared + code, entryPoint: "get_diagonal", grid: (p) => linearGrid(p.count, 64) },
});

/** For i < count: tile[i·ld + i] ← diagonal[first + i]. */
export const setDiagonal = defineKernel({
  name: "set_diagonal",
  bindings: { diagonal: "read", tile: "read_write" },
  params: { count: "u32", ld: "u32", first: "u32" },
  shader: { code: shared + code, entryPoint: "set_diagonal", grid: (p) => linearGrid(p.count, 64) },
});

/** For i < j < size: tile[j·ld + i] ← tile[i·ld + j]. */
export const mirrorUpper = defineKernel({
  name: "mirror_upper",
  bindings: { tile: "read_write" },
  params: { size: "u32", ld: "u32" },
  shader: { code: shared + code, entryPoint: "mirror_upper", grid: (p) => linearGrid(p.size * p.size, 256) },
});
