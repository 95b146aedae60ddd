/**
 * Copies elements from some rows of a packed upper triangle into a tile, which is a part of the matrix in a
 * buffer of its own.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/unpack_upper.wgsl" with { type: "text" };

/**
 * `source` has `rows` consecutive rows of the packed upper triangle of a matrix of order n, from row `first_row` on. In the packed form, row i
 * has only the elements of columns i … n−1, and the rows follow each other without gaps.
 *
 * For r < rows and c < cols, with i = first_row + r and j = first_col + c: if j ≥ i, then target[target_offset + r·ld + c] ← element (i, j).
 * Other elements of `target` do not change. `source` must have fewer than 2³² elements.
 */
export const unpackUpper = defineKernel({
  name: "unpack_upper",
  bindings: { source: "read", target: "read_write" },
  params: {
    n: "u32",
    rows: "u32",
    cols: "u32",
    first_row: "u32",
    first_col: "u32",
    target_offset: "u32",
    ld: "u32",
  },
  shader: { code: shared + code, entryPoint: "unpack_upper", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});
