/** Elementwise kernels on a tile: a linear combination whose factors depend on a mask, and scaled rows and columns. */

import { defineKernel, f32, linearGrid, u32 } from "./kernel.ts";
import { positives, signed, tileParams, type TilePlace, words } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/combine.wgsl" with { type: "text" };

/**
 * For r < rows and c < cols, with i = r·ld + c:
 * y[i] ← kept_x·x[i] + kept_y·y[i] if the entry is kept, else pruned_x·x[i] + pruned_y·y[i].
 *
 * The tile starts at row `row0` and column `first` of a matrix, whose mask has `words` u32 words per row. An entry is
 * kept if bit k%32 of word (row0 + r)·words + k/32 is 1, where k = first + c. All values of x and y must be finite,
 * because a value is multiplied even if its factor is 0.
 */
export const maskedCombine = defineKernel({
  name: "masked_combine",
  bindings: { x: "read", mask: "read", y: "read_write" },
  params: {
    ...u32("rows", "cols", "ld", "row0", "first", "words"),
    ...f32("kept_x", "kept_y", "pruned_x", "pruned_y"),
  },
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [maskedCombineCase([29, 70, 3, 40])],
});

/**
 * For r < rows and c < cols: x[r·ld + c] ← left[row0 + r]·x[r·ld + c]·right[first + c]. If `has_left` is 0, `left` is
 * not read, and its factors count as 1.
 */
export const scaleTile = defineKernel({
  name: "scale_tile",
  bindings: { left: "read", right: "read", x: "read_write" },
  params: u32("rows", "cols", "ld", "row0", "first", "has_left"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () =>
    [0, 1].map((has_left) => ({
      feature: has_left ? "rows and columns" : "columns",
      ...scaleTileCase([29, 70, 3, 40], has_left),
    })),
});

/** A case whose factors differ for kept and pruned entries. */
export function maskedCombineCase(place: TilePlace) {
  const tile = tileParams(place), { rows, ld, row0 } = tile;
  return {
    params: { ...tile, kept_x: 0.5, kept_y: -1.5, pruned_x: 2, pruned_y: 0.25 },
    buffers: () => ({
      x: signed(rows * ld, 104),
      mask: words((row0 + rows) * tile.words, 90),
      y: signed(rows * ld, 105),
    }),
    roundings: { y: 3 },
  };
}

/** A case that scales columns, and with `has_left` = 1 also rows. */
export function scaleTileCase(place: TilePlace, has_left: number) {
  const { words: _, ...tile } = tileParams(place), { rows, cols, ld, row0, first } = tile;
  return {
    params: { ...tile, has_left },
    buffers: () => ({
      left: positives(row0 + rows, 106),
      right: positives(first + cols, 107),
      x: signed(rows * ld, 108),
    }),
    roundings: { x: 2 },
  };
}
