/**
 * Chooses which entries of each row to keep, by their scores |x·scale|, and writes the mask. The number of pruned
 * entries is given for each row, as for Wanda (Sun et al., arXiv 2306.11695). The method is the radix select of
 * `select.ts`, row by row.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { below, signed, words } from "../kernel_case.ts";
import { forcedFeature } from "./select.ts";
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import code from "../../../../shaders/choose_in_rows.wgsl" with { type: "text" };

/**
 * For r < `rows`: prunes the counts[row0 + r] entries with the smallest scores among the `cols` entries of row r, and
 * among equal scores the first entries. All forced entries are pruned first, even if there are more than counts[row0 +
 * r].
 *
 * `x` holds whole rows of a matrix, `ld` elements apart, from row `row0` on. The score of element (r, c) is |x[r·ld +
 * c]·scale[c]|. `forced` and `mask` have `words` u32 words per row of the matrix: bit c%32 of word (row0 + r)·words +
 * c/32 belongs to column c. `mask` receives 1 where an entry is kept, and 0 elsewhere and in the padding. `forced` has
 * 1 where an entry must be pruned, and is read only if `has_forced` = 1.
 */
export const chooseInRows = defineKernel({
  name: "choose_in_rows",
  bindings: { x: "read", scale: "read", forced: "read", counts: "read", mask: "read_write" },
  params: u32("rows", "cols", "ld", "row0", "words", "has_forced"),
  shader: { code: linear + shared + code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () =>
    [0, 1].map((has_forced) => ({
      feature: forcedFeature(has_forced),
      ...chooseInRowsCase(7, 9001, has_forced, [0, 9001, 4500, 2000, 100, 8000, 6001]),
    })),
});

/** A case of whole rows, which prunes `counts` entries of them. A third of the weights have ties. */
export function chooseInRowsCase(rows: number, cols: number, has_forced: number, counts: readonly number[]) {
  const row0 = 2, ld = cols + 4, perRow = Math.ceil(cols / 32);
  return {
    params: { rows, cols, ld, row0, words: perRow, has_forced },
    buffers: () => ({
      x: signed(rows * ld, 221).map((value, i) => i % 3 ? value : Math.round(value * 8) / 8),
      scale: Float32Array.from(below(3, cols, 222), (value) => [0.5, 1, 2][value]),
      forced: words((row0 + rows) * perRow, 223).map((word) => word & 0x10010101),
      counts: Uint32Array.of(5, 5, ...counts),
      mask: words((row0 + rows) * perRow, 224),
    }),
  };
}
