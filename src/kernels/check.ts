/** Input checks that run where the data already is. Each reports the lowest offending index, by atomicMin, into a slot. */

import { defineKernel, linearGrid } from "./kernel.ts";
import { loop } from "./loop_count.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/check.wgsl" with { type: "text" };

/** What a slot of `first` must be set to before, and holds while nothing offends. */
export const NOTHING_FOUND = 0xffffffff;

/** Elements that an invocation of `check_finite` looks at: PER_INVOCATION of shaders/check.wgsl. */
const PER_INVOCATION = 8;

/** first[slot] ← min(first[slot], i) for every i < count with x[offset + i] NaN or infinite (judged by its bits). */
export const checkFinite = defineKernel({
  name: "check_finite",
  bindings: { x: "read", first: "read_write" },
  params: { count: "u32", offset: "u32", slot: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "check_finite",
    grid: (p) => linearGrid(p.count, 256 * PER_INVOCATION),
    loops: () => loop(PER_INVOCATION),
  },
});

/**
 * Compares the lower part of some rows of a symmetric matrix with the upper tile it mirrors. `strip`: matrix rows row0 … row0+rows−1,
 * contiguous, leading dimension `ldstrip` (whole rows). `upper`: the tile whose first element is matrix (col0, tile_col0), leading
 * dimension `ldupper`; the compared columns are j = col0 + c, c < cols. For i = row0 + r > j: offends when
 * |strip[r·ldstrip + j] − upper[c·ldupper + (i − tile_col0)]| > tolerance·√(diagonal[i]·diagonal[j]).
 * first[slot] ← min(first[slot], r·ldstrip + j). `diagonal` is the matrix's.
 */
export const checkSymmetry = defineKernel({
  name: "check_symmetry",
  bindings: { strip: "read", upper: "read", diagonal: "read", first: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    row0: "u32",
    col0: "u32",
    ldstrip: "u32",
    ldupper: "u32",
    tile_col0: "u32",
    slot: "u32",
    tolerance: "f32",
  },
  shader: {
    code: shared + code,
    entryPoint: "check_symmetry",
    grid: (p) => linearGrid(p.rows * p.cols, 256),
  },
});
