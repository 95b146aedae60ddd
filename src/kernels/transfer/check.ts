/**
 * Kernels that check input data on the device. Each check stores the lowest index of a defect in its own
 * element of the buffer `first`. That element is called the slot of the check.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import { loop } from "../loop_count.ts";
import type { FloatDtype } from "../../tensor/dtype.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/check.wgsl" with { type: "text" };

/**
 * The value of a slot if the check found no defect. The caller must set the slot to this value before the
 * check.
 */
export const NOTHING_FOUND = 0xffffffff;

/**
 * The bits of the smallest positive f32 that becomes infinite when it is rounded to a dtype. It is halfway between the
 * largest number of the dtype and the next power of two.
 */
export const OVERFLOW_BITS: Readonly<Record<FloatDtype, number>> = {
  F32: 0x7f800000,
  F16: 0x477ff000,
  BF16: 0x7f7f8000,
};

/**
 * Elements per invocation of `check_finite`. It must equal the constant of the same name in shaders/check.wgsl.
 */
const PER_INVOCATION = 8;

/**
 * For every i < count such that element i is NaN, or its magnitude has bits of at least `limit`: first[slot] ← min(first[slot], i).
 * The elements are rows of `cols`, which are `ld` elements apart: element i is x[offset + ⌊i/cols⌋·ld + i mod cols].
 * `limit` is one of `OVERFLOW_BITS`.
 */
export const checkFinite = defineKernel({
  name: "check_finite",
  bindings: { x: "read", first: "read_write" },
  params: { count: "u32", offset: "u32", cols: "u32", ld: "u32", limit: "u32", slot: "u32" },
  shader: {
    code: shared + code,
    entryPoint: "check_finite",
    grid: (p) => linearGrid(p.count, 256 * PER_INVOCATION),
    loops: () => loop(PER_INVOCATION),
  },
});

/**
 * Compares elements below the diagonal of a symmetric matrix with their mirror images in one tile of its
 * upper triangle. A tile is a part of the matrix in a buffer of its own. `strip` holds the whole rows
 * row0 … row0+rows−1 of the matrix, `ldstrip` elements apart. `upper` is the tile that starts at row `col0`
 * and column `tile_col0` of the matrix, with rows `ldupper` elements apart. `diagonal` is the diagonal of the
 * matrix.
 *
 * For r < rows and c < cols, with i = row0 + r and j = col0 + c: if i > j and
 * |strip[r·ldstrip + j] − upper[c·ldupper + (i − tile_col0)]| > tolerance·√(diagonal[i]·diagonal[j]), then
 * first[slot] ← min(first[slot], r·ldstrip + j).
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
