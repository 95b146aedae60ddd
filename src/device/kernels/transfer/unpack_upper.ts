/** Copies elements from some rows of a packed upper triangle into a tile of the matrix. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { words } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/unpack_upper.wgsl" with { type: "text" };

/**
 * `source` has `rows` consecutive rows of the packed upper triangle of a matrix of order n, from row `first_row` on. In
 * the packed form, row i has only the elements of columns i … n−1, and the rows follow each other without gaps.
 *
 * For r < rows and c < cols, with i = first_row + r and j = first_col + c: if j ≥ i, then target[target_offset + r·ld +
 * c] ← element (i, j). Other elements of `target` do not change. `source` must have fewer than 2³² elements.
 */
export const unpackUpper = defineKernel({
  name: "unpack_upper",
  bindings: { source: "read", target: "read_write" },
  params: u32("n", "rows", "cols", "first_row", "first_col", "target_offset", "ld"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [
    unpackUpperCase({ n: 71, rows: 17, cols: 33, first_row: 20, first_col: 15 }, 3, 5),
    {
      feature: "more than 2³² elements",
      ...unpackUpperCase({ n: 70_000, rows: 5, cols: 4, first_row: 69_995, first_col: 69_996 }, 0, 0),
    },
  ],
});

/** A case whose target has `padding` elements after each row. */
export function unpackUpperCase(
  shape: Readonly<Record<"n" | "rows" | "cols" | "first_row" | "first_col", number>>,
  padding: number,
  target_offset: number,
) {
  const { n, rows, cols, first_row } = shape, ld = cols + padding, isLarge = n === 70_000;
  const elements = rows * (2 * (n - first_row) - rows + 1) / 2;
  return {
    params: { ...shape, target_offset, ld },
    buffers: () => ({
      source: words(elements, isLarge ? 10 : 8),
      target: words(target_offset + rows * ld, isLarge ? 11 : 9),
    }),
  };
}
