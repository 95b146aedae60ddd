/** Kernels that copy and add rows of activations, as a mixture of experts needs them for the tokens of an expert. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { below, permutation, positives, signed, words } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import rowsCode from "../../../../shaders/rows.wgsl" with { type: "text" };

const code = shared + rowsCode;

/** For r < rows and c < cols: y[r·cols + c] ← x[index[offset + r]·cols + c], bit for bit. */
export const gatherRows = defineKernel({
  name: "gather_rows",
  bindings: { x: "read", index: "read", y: "read_write" },
  params: u32("rows", "cols", "offset"),
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  roundedOutput: ({ rows, cols }) => rows * cols,
  cases: () => [gatherRowsCase(17, 41, 23)],
});

/**
 * For r < rows and c < cols: y[t·cols + c] ← y[t·cols + c] + f·x[r·cols + c], where t is index[offset + r] and f is
 * scale·factors[offset + r]. The indices of the rows must differ. With `has_index` = 0, t is r and f is `scale`, and
 * `index` and `factors` are not read.
 */
export const addRows = defineKernel({
  name: "add_rows",
  bindings: { x: "read", index: "read", factors: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", offset: "u32", has_index: "u32", scale: "f32" },
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () =>
    [0, 1].map((has_index) => ({
      feature: has_index ? "chosen rows" : "all rows",
      ...addRowsCase(17, 41, 25, has_index),
    })),
});

/** A case that copies `rows` rows, in any order, of the `all` rows of `cols` elements. */
export function gatherRowsCase(rows: number, cols: number, all: number) {
  return {
    params: { rows, cols, offset: 3 },
    buffers: () => ({
      x: words(all * cols, 431),
      index: below(all, rows + 8, 432),
      y: words(rows * cols + 9, 433),
    }),
  };
}

/** A case that adds `rows` rows to some of `all` rows. `all` is at least rows + 3. */
export function addRowsCase(rows: number, cols: number, all: number, has_index: number) {
  return {
    params: { rows, cols, offset: 3, has_index, scale: -0.75 },
    buffers: () => ({
      x: signed(rows * cols, 434),
      index: permutation(all, 435),
      factors: positives(all, 436),
      y: signed(all * cols, 437),
    }),
    roundings: { y: 4 },
  };
}
