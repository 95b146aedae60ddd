/**
 * Chooses which entries of a matrix to keep, by their scores |x·scale|, and writes the mask of a tile.
 * - Over the whole matrix, exactly k entries are pruned: the entries with the smallest scores, and among equal scores
 *   the entries that come first. The method and the buffer `selection` are the same as in `select.ts`. The kernels are
 *   `scoreHistogram`, `selectDigit`, `countScoreTies` and `rankTies`. Then `chooseEntries` writes the mask.
 * - In an n:m pattern, `chooseInGroups` keeps the entries with the largest scores in each group of consecutive columns.
 *
 * The tile starts at row `row0` and column `first` of the matrix. Its element (r, c) is x[r·ld + c], with the score
 * |x[r·ld + c]·scale[first + c]|. `forced` and the mask have `words` u32 words per row of the matrix: bit k%32 of word
 * (row0 + r)·words + k/32 belongs to column k = first + c. The mask has 1 where an entry is kept, and the caller sets
 * it to 0 before the first tile. `forced` has 1 where an entry must be pruned, and is read only if `has_forced` = 1.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { below, coarse, filled, words } from "../kernel_case.ts";
import { forcedFeature, KEYS_PER_INVOCATION, RADIX_BINS } from "./select.ts";
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import own from "../../../../shaders/choose.wgsl" with { type: "text" };

const code = linear + shared + own;

const params = u32("rows", "cols", "ld", "row0", "first", "words", "has_forced");

/**
 * For each digit d: histogram[d] += the number of keys of the tile whose byte at `level` is d and whose more
 * significant bytes equal the same bytes of selection[0]. The key of an entry is 0 if it is forced, and else
 * bits(score) + 1. Non-negative floats have the same order as their bits.
 */
export const scoreHistogram = defineKernel({
  name: "score_histogram",
  bindings: { x: "read", scale: "read", forced: "read", selection: "read", histogram: "read_write" },
  params: { ...params, level: "u32" },
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, RADIX_BINS * KEYS_PER_INVOCATION) },
  cases: () =>
    [[0, 0], [1, 0], [0, 1], [0, 2], [0, 3], [1, 3]].map(([has_forced, level]) => ({
      feature: `byte ${level}, ${forcedFeature(has_forced)}`,
      params: { ...TILE, has_forced, level },
      buffers: () => ({
        ...tileOperands(),
        // With the prefix 0, the keys of forced entries and of zeros count.
        selection: Uint32Array.of(
          has_forced ? 0 : HALF & [0, 0xff000000, 0xffff0000, 0xffffff00][level],
          9,
          9,
        ),
        histogram: below(20, 256, 218),
      }),
    })),
});

/** For r < rows: selection[2 + row0 + r] += how many keys of row r of the tile equal the threshold selection[0]. */
export const countScoreTies = defineKernel({
  name: "count_score_ties",
  bindings: { x: "read", scale: "read", forced: "read", selection: "read_write" },
  params,
  shader: { code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () =>
    [0, 1].flatMap((has_forced) =>
      ["", ", the lowest key"].map((lowest) => ({
        feature: `${forcedFeature(has_forced)}${lowest}`,
        params: { ...TILE, has_forced },
        buffers: () => ({
          ...tileOperands(),
          // A forced entry, or the score 0, has the lowest key.
          selection: tiesToChoose().map((value, i) => i === 0 && lowest ? 1 - has_forced : value),
        }),
      }))
    ),
});

/**
 * Sets the mask bits of the kept entries of the tile. An entry is pruned if its key is less than the threshold
 * selection[0]. Of the entries of row r whose key equals it, the first selection[2 + row0 + r] are pruned, and that
 * number is decremented for each of them. Therefore the tiles of a row must be handled from left to right.
 */
export const chooseEntries = defineKernel({
  name: "choose_entries",
  bindings: { x: "read", scale: "read", forced: "read", selection: "read_write", mask: "read_write" },
  params,
  shader: { code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () => [
    ...[0, 1].map((has_forced) => ({
      feature: forcedFeature(has_forced),
      params: { ...TILE, has_forced },
      buffers: () => ({ ...tileOperands(), selection: tiesToChoose(), mask: new Uint32Array(8 * 68) }),
    })),
    {
      feature: "all scores equal",
      params: { ...TILE, cols: 300, ld: 300, words: 11, has_forced: 0 },
      buffers: () => ({
        ...tileOperands(),
        x: filled(5 * 300, 0.5),
        scale: filled(340, 1),
        selection: tiesToChoose(),
        mask: new Uint32Array(8 * 11),
      }),
    },
  ],
});

/**
 * Sets the mask bits of the kept entries of the tile in an n:m pattern. Each group of `group` consecutive columns keeps
 * the `keep` entries with the largest scores, and among equal scores the entries in higher columns, but no forced
 * entry. A last group of g < group columns keeps ceil(keep·g/group). The first column of the tile must start a group.
 */
export const chooseInGroups = defineKernel({
  name: "choose_in_groups",
  bindings: { x: "read", scale: "read", forced: "read", mask: "read_write" },
  params: { ...params, keep: "u32", group: "u32" },
  shader: { code, grid: (p) => linearGrid(p.rows * Math.ceil(p.cols / p.group), 64) },
  cases: () =>
    [[2, 4, 0], [3, 5, 1], [40, 100, 1]].map(([keep, group, has_forced]) => ({
      feature: `${keep}:${group}, ${forcedFeature(has_forced)}`,
      ...chooseInGroupsCase(5, 271, keep, group, has_forced),
    })),
});

/** A tile of 2101 columns at row 3 and column 40 of a matrix. It has more than one chunk of `choose_entries`. */
const TILE = { rows: 5, cols: 2101, ld: 2105, row0: 3, first: 40, words: 68 };

const tileOperands = () => ({
  x: coarse(TILE.rows * TILE.ld, 201),
  scale: Float32Array.from(below(3, TILE.first + TILE.cols, 202), (value) => [0.5, 1, 2][value]),
  forced: words(8 * TILE.words, 203).map((word) => word & 0x10010101),
});

/** The key of the score 0.5, and how many ties of it `choose_entries` prunes in each row. */
const HALF = 0x3f000001;
const tiesToChoose = () => Uint32Array.of(HALF, 9, 7, 7, 7, 0, 1, 40, 150, 5000);

export function chooseInGroupsCase(
  rows: number,
  cols: number,
  keep: number,
  group: number,
  has_forced: number,
) {
  const ld = cols + 9, row0 = 3, first = 40, perRow = Math.ceil((first + cols) / 32);
  return {
    params: { rows, cols, ld, row0, first, words: perRow, has_forced, keep, group },
    buffers: () => ({
      x: coarse(rows * ld, 219),
      scale: Float32Array.from(below(3, first + cols, 202), (value) => [0.5, 1, 2][value]),
      forced: words((row0 + rows) * perRow, 220),
      mask: new Uint32Array((row0 + rows) * perRow),
    }),
  };
}
