/**
 * Kernels that permute the columns of a matrix, the rows and columns of a symmetric matrix, and the columns of a mask.
 * `order`, u32, is a permutation of all columns of the matrix: column c of the result is column order[c] of the source.
 *
 * Matrices are stored in rectangular tiles. A dispatch of the first two kernels handles one tile of the source and one
 * tile of the target, and writes the elements of the target whose values are in this tile of the source. So the caller
 * dispatches all pairs of tiles.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { permutation, words } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/gather.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols, with s = order[first + c] − source_first: if 0 ≤ s < source_cols, then target[r·target_ld
 * + c] ← source[r·source_ld + s]. `first` and `source_first` are the columns of the matrix at which the tiles start.
 */
export const gatherColumns = defineKernel({
  name: "gather_columns",
  bindings: { source: "read", order: "read", target: "read_write" },
  params: u32("rows", "cols", "target_ld", "first", "source_ld", "source_first", "source_cols"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [gatherColumnsCase(19, 37, 20, 10, 43)],
});

/**
 * For r < rows and c < cols, let a be the smaller and b the larger of order[row0 + r] and order[first + c]. If element
 * (a, b) of the matrix is in the source tile, it is copied to target[r·target_ld + c]. The tile of the target starts at
 * row `row0` and column `first` of the matrix, and the tile of the source starts at row `source_row0` and column
 * `source_first`. Only the upper triangle of the source is read.
 */
export const gatherSymmetric = defineKernel({
  name: "gather_symmetric",
  bindings: { source: "read", order: "read", target: "read_write" },
  params: {
    ...u32("rows", "cols", "target_ld", "row0", "first", "source_ld", "source_row0"),
    ...u32("source_rows", "source_first", "source_cols"),
  },
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [gatherSymmetricCase([16, 20, 19, 37], [3, 10, 38, 43])],
});

/**
 * For r < rows and c < cols: bit c%32 of target[r·words + c/32] ← bit s%32 of source[r·words + s/32], where s is
 * order[c]. `words` is ⌈cols/32⌉. The padding bits of the target become 0.
 */
export const gatherBits = defineKernel({
  name: "gather_bits",
  bindings: { source: "read", order: "read", target: "read_write" },
  params: u32("rows", "cols", "words"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.words, 64) },
  cases: () => [gatherBitsCase(29, 70)],
});

/**
 * A case whose target tile starts at column `first`, and whose source tile of `source_cols` columns at `source_first`.
 */
export function gatherColumnsCase(
  rows: number,
  cols: number,
  first: number,
  source_first: number,
  source_cols: number,
) {
  const target_ld = cols + 3, source_ld = source_cols + 2;
  return {
    params: { rows, cols, target_ld, first, source_ld, source_first, source_cols },
    buffers: () => ({
      source: words(rows * source_ld, 12),
      order: permutation(Math.max(64, first + cols, source_first + source_cols), 13),
      target: words(rows * target_ld, 14),
    }),
  };
}

/** The first row, the first column, and the numbers of rows and columns of a tile. */
type Place = readonly [row0: number, first: number, rows: number, cols: number];

/** A case that copies from one tile of the upper triangle to another tile. */
export function gatherSymmetricCase(
  [row0, first, rows, cols]: Place,
  [source_row0, source_first, source_rows, source_cols]: Place,
) {
  const target_ld = cols + 3, source_ld = source_cols + 2;
  const order = Math.max(
    64,
    row0 + rows,
    first + cols,
    source_row0 + source_rows,
    source_first + source_cols,
  );
  return {
    params: {
      rows,
      cols,
      target_ld,
      row0,
      first,
      source_ld,
      source_row0,
      source_rows,
      source_first,
      source_cols,
    },
    buffers: () => ({
      source: words(source_rows * source_ld, 15),
      order: permutation(order, 16),
      target: words(rows * target_ld, 17),
    }),
  };
}

/** A case of (rows, cols) bits. */
export function gatherBitsCase(rows: number, cols: number) {
  const perRow = Math.ceil(cols / 32);
  return {
    params: { rows, cols, words: perRow },
    buffers: () => ({
      source: words(rows * perRow, 18),
      order: permutation(cols, 19),
      target: words(rows * perRow, 20),
    }),
  };
}
