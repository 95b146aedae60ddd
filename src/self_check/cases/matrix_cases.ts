/** The cases of the kernels of linear algebra, on whole matrices and on tiles. */

import { columnSquares } from "../../kernels/column_squares.ts";
import { maskedCombine, scaleTile } from "../../kernels/combine.ts";
import { cgDirection, cgStep } from "../../kernels/conjugate_gradient.ts";
import { getDiagonal, mirrorUpper, setDiagonal } from "../../kernels/diagonal.ts";
import { gemmNN, gemmNT, gemmTN } from "../../kernels/gemm.ts";
import { productNT, productTN } from "../../kernels/product.ts";
import { reverseCholesky } from "../../kernels/reverse_cholesky.ts";
import { rowDot } from "../../kernels/row_dot.ts";
import { zeroColumns } from "../../kernels/zero_columns.ts";
import { defineCase, type KernelCase, sumRoundings } from "../kernel_case.ts";
import { below, filled, positive, signed, words } from "../values.ts";

/** A product of (m, k) by (k, n) that covers several workgroups and slices and divides none of them evenly. */
const M = 133, N = 131, K = 70;
/** The distance between two rows of every operand, which is a multiple of four elements. */
const LD = 140;

/** Returns the operands of a product. With `sparse`, only every eighth row of A and B differs from 0. */
function productOperands(seed: number, sparse = false) {
  const a = signed(LD * LD + 1, seed), b = signed(LD * LD + 1, seed + 1);
  if (sparse) { for (let i = 0; i < a.length; i++) if (Math.floor(i / LD) % 8 || i % 8) a[i] = 0; }
  return { a, b, c: signed(LD * LD + 1, seed + 2) };
}

const PRODUCT = {
  m: M,
  n: N,
  k: K,
  a_offset: 1,
  lda: LD,
  ldb: LD,
  c_offset: 1,
  ldc: LD,
  alpha: -1.25,
  upper: 0,
};

const products = ([
  [gemmNN, 1],
  [gemmNT, 2],
  [gemmTN, 3],
  [productNT, 30],
  [productTN, 31],
] as const).flatMap(([kernel, seed]) => [
  defineCase(kernel, {
    feature: "aligned rows",
    params: { ...PRODUCT, b_offset: 0, beta: 0.5 },
    buffers: () => productOperands(10 * seed),
    roundings: { c: sumRoundings(K) },
  }),
  defineCase(kernel, {
    feature: "unaligned rows, β = 0",
    params: { ...PRODUCT, m: 37, k: 131, b_offset: 1, beta: 0 },
    buffers: () => ({ ...productOperands(10 * seed + 3), c: filled(40 * LD, NaN) }),
    roundings: { c: sumRoundings(131) },
    includes: { c: (i) => i > 0 && Math.floor((i - 1) / LD) < 37 && (i - 1) % LD < N },
  }),
  defineCase(kernel, {
    feature: "mostly zeros",
    params: { ...PRODUCT, b_offset: 0, beta: 1 },
    buffers: () => productOperands(10 * seed + 6, true),
    roundings: { c: sumRoundings(K) },
  }),
  defineCase(kernel, {
    feature: "upper triangle",
    params: { ...PRODUCT, m: 131, b_offset: 0, beta: 0.5, upper: 1 },
    buffers: () => productOperands(10 * seed + 8),
    roundings: { c: sumRoundings(K) },
    includes: { c: (i) => i > 0 && Math.floor((i - 1) / LD) <= (i - 1) % LD },
  }),
]);

/** The number of inner columns of a long sum, which matrix units compute in three parts (`shaders/product.wgsl`). */
const LONG_K = 4113;

/** Sums that are longer than matrix units may add up, with rows and columns of different magnitudes. */
const longSums = [productNT, productTN].map((kernel, transA) =>
  defineCase(kernel, {
    feature: "long sums",
    params: {
      ...PRODUCT,
      m: 3,
      n: 5,
      k: LONG_K,
      a_offset: 0,
      lda: transA ? 3 : LONG_K,
      b_offset: 0,
      ldb: transA ? 5 : LONG_K,
      c_offset: 0,
      ldc: 5,
      beta: 0.5,
    },
    buffers: () => ({
      a: signed(3 * LONG_K, 320),
      b: signed(5 * LONG_K, 321).map((value) => value * 3e4),
      c: signed(15, 322),
    }),
    roundings: { c: sumRoundings(LONG_K) },
  })
);

/** Returns a symmetric, diagonally dominant block of `size` columns at row 2 and column 3 of a buffer, with NaN below its diagonal. */
function cholesky(size: number, ld: number, seed: number, status = 0) {
  const h = signed((size + 3) * ld, seed).map((value) => value / 8);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) h[(2 + i) * ld + 3 + j] = i === j ? 4 + h[(2 + i) * ld + 3 + j] : NaN;
  }
  return {
    h,
    r: filled((size + 3) * (ld + 4)),
    u: filled(h.length),
    diagonal: filled(size + 9),
    status: Uint32Array.of(status),
  };
}

const block = (size: number, ld: number) => ({
  size,
  offset: 2 * ld + 3,
  ld,
  r_offset: ld + 4 + 1,
  ldr: ld + 4,
  u_offset: 2 * ld + 3,
  ldu: ld,
  first: 7,
});

/** Only the status of a failed factorisation is specified. */
const STATUS_ONLY = { r: () => false, u: () => false, diagonal: () => false };

const factorisations = [
  ...[1, 45, 128, 256].map((size) =>
    defineCase(reverseCholesky, {
      feature: `${size} columns`,
      params: block(size, size + 5),
      buffers: () => cholesky(size, size + 5, size),
      // Every element of R and U is a sum of up to `size` products, and U also depends on the sums of R.
      roundings: { r: sumRoundings(size), u: 2 * sumRoundings(size), diagonal: sumRoundings(size) },
    })
  ),
  ...[128, 256].map((size) =>
    defineCase(reverseCholesky, {
      feature: `${size} columns that are not positive definite`,
      params: block(size, size + 5),
      buffers: () => {
        const operands = cholesky(size, size + 5, size + 1), at = (j: number) => (2 + j) * (size + 5) + 3 + j;
        operands.h[at(99)] = -4;
        operands.h[at(17)] = NaN;
        return operands;
      },
      includes: STATUS_ONLY,
    })
  ),
  defineCase(reverseCholesky, {
    feature: "after a failed block",
    params: block(33, 40),
    buffers: () => cholesky(33, 40, 5, 12),
  }),
];

/** A tile of (29, 70) elements at row 3 and column 40 of a matrix. */
const TILE = { rows: 29, cols: 70, ld: 75, row0: 3, first: 40 };
const TILE_ELEMENTS = 29 * 75;
const MASK = { words: 4 };
const maskWords = () => words(32 * 4, 90);
/** The sums of a row of a conjugate-gradient step. In some rows the denominator is not positive. */
const cgSums = () =>
  positive(32 * 3, 91).map((value, i) => i % 3 === 2 && i % 5 === 0 ? 1 - value * 2 : value);

export const MATRIX_CASES: readonly KernelCase[] = [
  ...products,
  ...longSums,
  ...factorisations,
  defineCase(getDiagonal, {
    params: { count: 70, row: 3, col: 5, ld: 80, first: 9 },
    buffers: () => ({ tile: words(80 * 80, 92), diagonal: words(90, 93) }),
  }),
  defineCase(setDiagonal, {
    params: { count: 70, ld: 80, first: 9 },
    buffers: () => ({ diagonal: words(90, 94), tile: words(80 * 80, 95) }),
  }),
  defineCase(mirrorUpper, {
    params: { size: 45, ld: 50 },
    buffers: () => ({ tile: words(50 * 50, 96) }),
  }),
  defineCase(zeroColumns, {
    params: { rows: 29, cols: 70, ld: 75, first: 40 },
    buffers: () => ({
      dead: below(3, 120, 97).map((value) => Math.max(0, value - 1)),
      w: signed(TILE_ELEMENTS, 98),
    }),
  }),
  defineCase(rowDot, {
    params: {
      rows: 19,
      cols: 301,
      x_offset: 3,
      ldx: 305,
      y_offset: 2,
      ldy: 304,
      sums_offset: 4,
      sums_stride: 3,
      scale: -0.75,
    },
    buffers: () => ({ x: positive(3 + 19 * 305, 99), y: positive(2 + 19 * 304, 100), sums: signed(64, 101) }),
    roundings: { sums: sumRoundings(301) },
  }),
  defineCase(columnSquares, {
    params: { rows: 133, cols: 70, x_offset: 3, ldx: 75 },
    buffers: () => ({ x: signed(3 + 133 * 75, 102), sums: positive(75, 103) }),
    roundings: { sums: sumRoundings(133) },
  }),
  defineCase(maskedCombine, {
    params: { ...TILE, ...MASK, kept_x: 0.5, kept_y: -1.5, pruned_x: 2, pruned_y: 0.25 },
    buffers: () => ({ x: signed(TILE_ELEMENTS, 104), mask: maskWords(), y: signed(TILE_ELEMENTS, 105) }),
    roundings: { y: 3 },
  }),
  ...[0, 1].map((has_left) =>
    defineCase(scaleTile, {
      feature: has_left ? "rows and columns" : "columns",
      params: { ...TILE, has_left },
      buffers: () => ({ left: positive(40, 106), right: positive(120, 107), x: signed(TILE_ELEMENTS, 108) }),
      roundings: { x: 2 },
    })
  ),
  defineCase(cgStep, {
    params: { ...TILE, ...MASK, stride: 3, numerator: 0, denominator: 2 },
    buffers: () => ({
      p: signed(TILE_ELEMENTS, 109),
      ap: signed(TILE_ELEMENTS, 110),
      mask: maskWords(),
      sums: cgSums(),
      q: signed(TILE_ELEMENTS, 111),
      r: signed(TILE_ELEMENTS, 112),
    }),
    // A division may be off by 2.5 units in the last place in WGSL.
    roundings: { q: 8, r: 8 },
  }),
  defineCase(cgDirection, {
    params: { rows: 29, cols: 70, ld: 75, row0: 3, stride: 3, numerator: 0, denominator: 2 },
    buffers: () => ({ r: signed(TILE_ELEMENTS, 113), sums: cgSums(), p: signed(TILE_ELEMENTS, 114) }),
    roundings: { p: 8 },
  }),
];
