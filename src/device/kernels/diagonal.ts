/** Kernels that read and overwrite the diagonal of a tile, and fill its lower triangle from the upper triangle. */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { words } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/diagonal.wgsl" with { type: "text" };

/**
 * For i < count: diagonal[first + i] ← tile[(row + i)·ld + col + i]. The diagonal that is read starts at row `row` and
 * column `col` of the buffer, which may also hold some rows of the matrix instead of a tile.
 */
export const getDiagonal = defineKernel({
  name: "get_diagonal",
  bindings: { tile: "read", diagonal: "read_write" },
  params: u32("count", "row", "col", "ld", "first"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.count, 64) },
  cases: () => [getDiagonalCase(70)],
});

/** For i < count: tile[i·ld + i] ← diagonal[first + i]. */
export const setDiagonal = defineKernel({
  name: "set_diagonal",
  bindings: { diagonal: "read", tile: "read_write" },
  params: u32("count", "ld", "first"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.count, 64) },
  cases: () => [setDiagonalCase(70)],
});

/** For i < j < size: tile[j·ld + i] ← tile[i·ld + j]. */
export const mirrorUpper = defineKernel({
  name: "mirror_upper",
  bindings: { tile: "read_write" },
  params: u32("size", "ld"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.size * p.size, 256) },
  cases: () => [mirrorUpperCase(45)],
});

/** A case that reads `count` elements from the middle of a buffer. */
export function getDiagonalCase(count: number) {
  const ld = count + 10, first = 9;
  return {
    params: { count, row: 3, col: 5, ld, first },
    buffers: () => ({ tile: words(ld * ld, 92), diagonal: words(first + count + 11, 93) }),
  };
}

export function setDiagonalCase(count: number) {
  const ld = count + 10, first = 9;
  return {
    params: { count, ld, first },
    buffers: () => ({ diagonal: words(first + count + 11, 94), tile: words(ld * ld, 95) }),
  };
}

export function mirrorUpperCase(size: number) {
  const ld = size + 5;
  return { params: { size, ld }, buffers: () => ({ tile: words(ld * ld, 96) }) };
}
