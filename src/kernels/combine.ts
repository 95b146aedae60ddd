/**
 * Elementwise kernels on a tile, which is one of the rectangles in which a matrix is stored. One kernel
 * computes a linear combination of two tiles whose factors depend on a mask. The other kernel scales rows and
 * columns.
 */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/combine.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols, with i = r·ld + c: y[i] ← kept_x·x[i] + kept_y·y[i] if the entry is kept, else pruned_x·x[i] + pruned_y·y[i].
 *
 * The tile starts at row `row0` and column `first` of a matrix, whose mask has `words` u32 words per row. An entry is kept if bit k%32 of word
 * (row0 + r)·words + k/32 is 1, where k = first + c. All values of x and y must be finite, because a value is
 * multiplied even if its factor is 0.
 */
export const maskedCombine = defineKernel({
  name: "masked_combine",
  bindings: { x: "read", mask: "read", y: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    ld: "u32",
    row0: "u32",
    first: "u32",
    words: "u32",
    kept_x: "f32",
    kept_y: "f32",
    pruned_x: "f32",
    pruned_y: "f32",
  },
  shader: {
    code: shared + code,
    entryPoint: "masked_combine",
    grid: (p) => linearGrid(p.rows * p.cols, 256),
  },
});

/**
 * For r < rows and c < cols: x[r·ld + c] ← left[row0 + r]·x[r·ld + c]·right[first + c]. If `has_left` is 0,
 * `left` is not read, and its factors count as 1.
 */
export const scaleTile = defineKernel({
  name: "scale_tile",
  bindings: { left: "read", right: "read", x: "read_write" },
  params: { rows: "u32", cols: "u32", ld: "u32", row0: "u32", first: "u32", has_left: "u32" },
  shader: { code: shared + code, entryPoint: "scale_tile", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});
