/**
 * Kernels that check input data on the device. Each check stores the lowest index of a defect in an element of the
 * buffer `first`, the slot of the check.
 */

import { defineKernel, f32, linearGrid, u32 } from "../kernel.ts";
import { positives, signed } from "../kernel_case.ts";
import type { FloatDtype } from "../../../tensor/dtype.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/check.wgsl" with { type: "text" };

/** The value to which the caller sets a slot before the check. The slot keeps it if the check finds no defect. */
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

/** Elements per invocation of `check_finite`, as in the shader. */
const PER_INVOCATION = 8;

/**
 * For every i < count such that element i is NaN, or its magnitude has bits of at least `limit`: first[slot] ←
 * min(first[slot], i). The elements are rows of `cols`, which are `ld` elements apart: element i is x[offset +
 * ⌊i/cols⌋·ld + i mod cols]. `limit` is one of `OVERFLOW_BITS`.
 */
export const checkFinite = defineKernel({
  name: "check_finite",
  bindings: { x: "read", first: "read_write" },
  params: u32("count", "offset", "cols", "ld", "limit", "slot"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.count, 256 * PER_INVOCATION) },
  cases: () => [
    ...Object.entries<Readonly<Record<number, number>>>({
      "nothing to find": {},
      "NaN in the last element": { 5002: NaN },
      "NaN before an infinity": { 2500: NaN, 2501: Infinity },
      "an infinity before NaN": { 4000: -Infinity, 4900: NaN, 1: NaN },
    }).map(([feature, places]) => ({
      feature,
      params: { count: 5000, offset: 3, cols: 5000, ld: 5000, limit: OVERFLOW_BITS.F32, slot: 1 },
      buffers: () => {
        const x = signed(5003, 43);
        for (const [place, value] of Object.entries(places)) x[Number(place)] = value;
        return { x, first: Uint32Array.of(5, NOTHING_FOUND, 6) };
      },
    })),
    ...(["F16", "BF16"] as const).map((dtype) => ({
      feature: `rows with padding, overflow in ${dtype}`,
      params: { count: 37 * 121, offset: 3, cols: 121, ld: 125, limit: OVERFLOW_BITS[dtype], slot: 1 },
      buffers: () => {
        const x = signed(3 + 37 * 125, 44), bits = new Uint32Array(x.buffer);
        for (let i = 3; i < x.length; i++) if ((i - 3) % 125 >= 121) x[i] = NaN;
        bits[3 + 20 * 125 + 7] = OVERFLOW_BITS[dtype] - 1;
        bits[3 + 30 * 125 + 120] = OVERFLOW_BITS[dtype] | 2 ** 31;
        return { x, first: Uint32Array.of(5, NOTHING_FOUND, 6) };
      },
    })),
  ],
});

/**
 * Compares elements below the diagonal of a symmetric matrix with their mirror images in one tile of its upper
 * triangle. `strip` holds the whole rows row0 … row0+rows−1 of the matrix, `ldstrip` elements apart. `upper` is the
 * tile that starts at row `col0` and column `tile_col0` of the matrix, with rows `ldupper` elements apart. `diagonal`
 * is the diagonal of the matrix.
 *
 * For r < rows and c < cols, with i = row0 + r and j = col0 + c: if i > j and
 * |strip[r·ldstrip + j] − upper[c·ldupper + (i − tile_col0)]| > tolerance·√(diagonal[i]·diagonal[j]), then
 * first[slot] ← min(first[slot], r·ldstrip + j).
 */
export const checkSymmetry = defineKernel({
  name: "check_symmetry",
  bindings: { strip: "read", upper: "read", diagonal: "read", first: "read_write" },
  params: {
    ...u32("rows", "cols", "row0", "col0", "ldstrip", "ldupper", "tile_col0", "slot"),
    ...f32("tolerance"),
  },
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () => [
    { feature: "differences within the tolerance", ...symmetryCase([]) },
    { feature: "differences over the tolerance", ...symmetryCase([[22, 21], [20, 7], [20, 13], [23, 4]]) },
  ],
});

/**
 * A case with the rows 15 … 23 of a symmetric matrix of order 40, and columns 4 … 23. The strip differs from the tile
 * by three quarters of the allowed difference, and at the places in `defects` by twice of it.
 */
function symmetryCase(defects: readonly (readonly [row: number, column: number])[]) {
  const order = 40, tolerance = 0.125, [row0, rows, col0, cols, tile_col0] = [15, 9, 4, 20, 10];
  const ldstrip = order + 1, ldupper = 36;
  return {
    params: { rows, cols, row0, col0, ldstrip, ldupper, tile_col0, slot: 1, tolerance },
    buffers: () => {
      const entries = signed(order * order, 41), diagonal = positives(order, 42);
      const entry = (i: number, j: number) => entries[Math.min(i, j) * order + Math.max(i, j)];
      const strip = new Float32Array(rows * ldstrip), upper = new Float32Array(cols * ldupper);
      for (let c = 0; c < cols; c++) {
        for (let i = tile_col0; i < order; i++) upper[c * ldupper + i - tile_col0] = entry(col0 + c, i);
      }
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < order; j++) {
          const isDefect = defects.some(([row, column]) => row === row0 + r && column === j);
          const allowed = tolerance * Math.sqrt(diagonal[row0 + r] * diagonal[j]);
          strip[r * ldstrip + j] = entry(row0 + r, j) + (isDefect ? 2 : 0.75) * allowed;
        }
      }
      return { strip, upper, diagonal, first: Uint32Array.of(5, NOTHING_FOUND, 6) };
    },
  };
}
