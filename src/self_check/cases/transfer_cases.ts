/** The cases of the kernels that move, convert and check data. */

import { checkFinite, checkSymmetry, NOTHING_FOUND, OVERFLOW_BITS } from "../../kernels/transfer/check.ts";
import { DTYPE_CODE, fromFloat32, toFloat32 } from "../../kernels/transfer/convert.ts";
import { copy2d, copyTransposed } from "../../kernels/transfer/copy2d.ts";
import { gatherBits, gatherColumns, gatherSymmetric } from "../../kernels/transfer/gather.ts";
import { unpackUpper } from "../../kernels/transfer/unpack_upper.ts";
import { defineCase, type KernelCase } from "../kernel_case.ts";
import { filled, permutation, positive, signed, words } from "../values.ts";

/** Returns random words in which no 16-bit float is an infinity or NaN, because the bits of NaN are not specified. */
function finiteHalves(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const exponents = [0x7c00, 0x7f80];
  const finite = (half: number) => exponents.some((bits) => (half & bits) === bits) ? half & ~0x0480 : half;
  return words(count, seed).map((word) => finite(word & 0xffff) | finite(word >>> 16) << 16);
}

/** The exponent bits of two 16-bit floats in a word. */
const NON_FINITE = { F16: 0x7c007c00, BF16: 0x7f807f80 };

/** Returns floats whose magnitudes go from the subnormal f16 numbers to beyond the largest f16 number, and some ties. */
function wideFloats(count: number, seed: number): Float32Array<ArrayBuffer> {
  const factors = signed(count, seed);
  return factors.map((factor, i) =>
    (i % 5 === 0 ? Math.round(factor * 2 ** 12) / 2 ** 12 : factor) * 2 ** (i % 47 - 28)
  );
}

/**
 * The operands of `check_symmetry` for the rows 15 … 23 of a symmetric matrix of order 40, and columns 4 … 23. The strip
 * differs from the tile by `noise` of the allowed difference, and at the places in `defects` by twice of it.
 */
function symmetricOperands(noise: number, defects: readonly (readonly [row: number, column: number])[]) {
  const order = 40, entries = signed(order * order, 41), diagonal = positive(order, 42), tolerance = 0.125;
  const entry = (i: number, j: number) => entries[Math.min(i, j) * order + Math.max(i, j)];
  const strip = new Float32Array(9 * 41), upper = new Float32Array(20 * 36);
  for (let c = 0; c < 20; c++) {
    for (let k = 0; k < 36; k++) {
      upper[c * 36 + k] = k + 10 < order ? entry(4 + c, k + 10) : 0;
    }
  }
  for (let r = 0; r < 9; r++) {
    for (let j = 0; j < order; j++) {
      const isDefect = defects.some(([row, column]) => row === 15 + r && column === j);
      const allowed = tolerance * Math.sqrt(diagonal[15 + r] * diagonal[j]);
      strip[r * 41 + j] = entry(15 + r, j) + (isDefect ? 2 : noise) * allowed;
    }
  }
  return { strip, upper, diagonal, first: Uint32Array.of(5, NOTHING_FOUND, 6) };
}

const SYMMETRY_PARAMS = {
  rows: 9,
  cols: 20,
  row0: 15,
  col0: 4,
  ldstrip: 41,
  ldupper: 36,
  tile_col0: 10,
  slot: 1,
  tolerance: 0.125,
};

/** Returns 5003 numbers of which those at `places` are not finite. */
function withDefects(places: Readonly<Record<number, number>>): Float32Array<ArrayBuffer> {
  const x = signed(5003, 43);
  for (const [place, value] of Object.entries(places)) x[Number(place)] = value;
  return x;
}

const sourceDtypes = [["F32", 700], ["F16", 400], ["BF16", 400]] as const;

export const TRANSFER_CASES: readonly KernelCase[] = [
  defineCase(copy2d, {
    params: { rows: 37, cols: 41, source_offset: 3, source_ld: 43, target_offset: 5, target_ld: 47 },
    buffers: () => ({ source: words(3 + 37 * 43, 1), target: words(5 + 37 * 47, 2) }),
  }),
  defineCase(copyTransposed, {
    params: { rows: 37, cols: 41, source_offset: 3, source_ld: 43, target_offset: 5, target_ld: 39 },
    buffers: () => ({ source: words(3 + 37 * 43, 3), target: words(5 + 41 * 39, 4) }),
  }),
  ...sourceDtypes.map(([dtype, length]) =>
    defineCase(toFloat32, {
      feature: dtype,
      params: { count: 601, dtype: DTYPE_CODE[dtype], source_offset: 7, target_offset: 5 },
      buffers: () => ({ source: finiteHalves(length, 5), target: filled(5 + 601 + 3) }),
    })
  ),
  ...(["F16", "BF16"] as const).flatMap((dtype) => [
    defineCase(toFloat32, {
      feature: `NaN and infinity in ${dtype}`,
      params: { count: 101, dtype: DTYPE_CODE[dtype], source_offset: 3, target_offset: 5 },
      buffers: () => ({
        source: words(64, 21).map((word) => word | NON_FINITE[dtype]),
        target: words(110, 22),
      }),
    }),
    defineCase(fromFloat32, {
      feature: `NaN to ${dtype}`,
      params: { count: 101, dtype: DTYPE_CODE[dtype], source_offset: 3 },
      buffers: () => ({ source: words(110, 23).map((word) => word | 0x7f800000), target: words(60, 24) }),
    }),
  ]),
  ...(["F32", "F16", "BF16"] as const).map((dtype) =>
    defineCase(fromFloat32, {
      feature: dtype,
      params: { count: 601, dtype: DTYPE_CODE[dtype], source_offset: 7 },
      buffers: () => ({ source: wideFloats(608, 6), target: words(605, 7) }),
    })
  ),
  defineCase(unpackUpper, {
    params: { n: 71, rows: 17, cols: 33, first_row: 20, first_col: 15, target_offset: 5, ld: 36 },
    buffers: () => ({ source: words(17 * 51, 8), target: words(5 + 17 * 36, 9) }),
  }),
  defineCase(unpackUpper, {
    feature: "more than 2³² elements",
    params: { n: 70_000, rows: 5, cols: 4, first_row: 69_995, first_col: 69_996, target_offset: 0, ld: 4 },
    buffers: () => ({ source: words(15, 10), target: words(20, 11) }),
  }),
  ...Object.entries<Readonly<Record<number, number>>>({
    "nothing to find": {},
    "NaN in the last element": { 5002: NaN },
    "NaN before an infinity": { 2500: NaN, 2501: Infinity },
    "an infinity before NaN": { 4000: -Infinity, 4900: NaN, 1: NaN },
  }).map(([feature, places]) =>
    defineCase(checkFinite, {
      feature,
      params: { count: 5000, offset: 3, cols: 5000, ld: 5000, limit: OVERFLOW_BITS.F32, slot: 1 },
      buffers: () => ({ x: withDefects(places), first: Uint32Array.of(5, NOTHING_FOUND, 6) }),
    })
  ),
  ...(["F16", "BF16"] as const).map((dtype) =>
    defineCase(checkFinite, {
      feature: `rows with padding, overflow in ${dtype}`,
      params: { count: 37 * 121, offset: 3, cols: 121, ld: 125, limit: OVERFLOW_BITS[dtype], slot: 1 },
      buffers: () => {
        const x = signed(3 + 37 * 125, 44), bits = new Uint32Array(x.buffer);
        for (let i = 3; i < x.length; i++) if ((i - 3) % 125 >= 121) x[i] = NaN;
        bits[3 + 20 * 125 + 7] = OVERFLOW_BITS[dtype] - 1;
        bits[3 + 30 * 125 + 120] = OVERFLOW_BITS[dtype] | 2 ** 31;
        return { x, first: Uint32Array.of(5, NOTHING_FOUND, 6) };
      },
    })
  ),
  defineCase(checkSymmetry, {
    feature: "differences within the tolerance",
    params: SYMMETRY_PARAMS,
    buffers: () => symmetricOperands(0.75, []),
  }),
  defineCase(checkSymmetry, {
    feature: "differences over the tolerance",
    params: SYMMETRY_PARAMS,
    buffers: () => symmetricOperands(0.75, [[22, 21], [20, 7], [20, 13], [23, 4]]),
  }),
  defineCase(gatherColumns, {
    params: {
      rows: 19,
      cols: 37,
      target_ld: 40,
      first: 20,
      source_ld: 45,
      source_first: 10,
      source_cols: 43,
    },
    buffers: () => ({ source: words(19 * 45, 12), order: permutation(64, 13), target: words(19 * 40, 14) }),
  }),
  defineCase(gatherSymmetric, {
    params: {
      rows: 19,
      cols: 37,
      target_ld: 40,
      row0: 16,
      first: 20,
      source_ld: 45,
      source_row0: 3,
      source_rows: 38,
      source_first: 10,
      source_cols: 43,
    },
    buffers: () => ({ source: words(38 * 45, 15), order: permutation(64, 16), target: words(19 * 40, 17) }),
  }),
  defineCase(gatherBits, {
    params: { rows: 29, cols: 70, words: 3 },
    buffers: () => ({ source: words(87, 18), order: permutation(70, 19), target: words(87, 20) }),
  }),
];
