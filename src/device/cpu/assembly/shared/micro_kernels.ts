// The micro-kernels of the matrix product. Each keeps a micro-tile, 4 × 8 or, if the engine pairs instructions, 6 × 16
// elements of C, in registers. Packing pads the operands at the edges, so the micro-kernels check nothing.
//
// An engine that checks each access against the size of the memory needs three instructions per load. So 4 × 8 loads a
// column of A as one vector and copies its lanes with shuffles. 6 × 16 is for engines that check nothing. Twelve
// accumulators, a row of B and an element of A fill 15 of the 16 registers of 256 bits, and the engine needs the last
// register. A second 6 × 16 micro-kernel reads an A that is not packed.

import { is_paired } from "./instance";

// The numbers of rows and columns of a micro-tile.
const MR_UNPAIRED: u32 = 4;
const MR_PAIRED: u32 = 6;
const NR_UNPAIRED: u32 = 8;
const NR_PAIRED: u32 = 16;

// Both kinds of micro-tiles divide blocks of so many rows and columns evenly.
export const ROWS_UNIT: u32 = 12;
export const COLS_UNIT: u32 = NR_PAIRED;

@inline export function micro_rows(): u32 {
  return is_paired() ? MR_PAIRED : MR_UNPAIRED;
}

@inline export function micro_cols(): u32 {
  return is_paired() ? NR_PAIRED : NR_UNPAIRED;
}

// Computes one row of C ← alpha·(left, right) + beta·C. Reads C only if `readsC` is true.
@inline function blend(c: usize, left: v128, right: v128, alpha: v128, beta: v128, readsC: bool): void {
  let x = f32x4.mul(alpha, left), y = f32x4.mul(alpha, right);
  if (readsC) {
    x = f32x4.relaxed_madd(beta, v128.load(c), x);
    y = f32x4.relaxed_madd(beta, v128.load(c, 16), y);
  }
  v128.store(c, x);
  v128.store(c, y, 16);
}

// C ← alpha·A·B + beta·C for one micro-tile. `a` points to k steps of 4 elements each, and `b` to k steps of 8
// elements. `c` points to 4 rows of 8 elements, which are `ldc` bytes apart. With beta = 0, C is not read.
export function multiply_4x8(k: u32, a: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  for (; k != 0; k--) {
    const b0 = v128.load(b), b1 = v128.load(b, 16), column = v128.load(a);
    let ai = v128.shuffle<f32>(column, column, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(ai, b0, c00), c01 = f32x4.relaxed_madd(ai, b1, c01);
    ai = v128.shuffle<f32>(column, column, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(ai, b0, c10), c11 = f32x4.relaxed_madd(ai, b1, c11);
    ai = v128.shuffle<f32>(column, column, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(ai, b0, c20), c21 = f32x4.relaxed_madd(ai, b1, c21);
    ai = v128.shuffle<f32>(column, column, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(ai, b0, c30), c31 = f32x4.relaxed_madd(ai, b1, c31);
    a += 16;
    b += 32;
  }
  const alphas = f32x4.splat(alpha), betas = f32x4.splat(beta), readsC = beta != 0;
  blend(c, c00, c01, alphas, betas, readsC);
  blend(c + ldc, c10, c11, alphas, betas, readsC);
  blend(c + 2 * ldc, c20, c21, alphas, betas, readsC);
  blend(c + 3 * ldc, c30, c31, alphas, betas, readsC);
}

// The engine can pair the instructions of both 6 × 16 micro-kernels only because the loads, multiply-adds and stores of one
// row are adjacent statements, and an element of A is loaded once for the whole row. Without pairing, half of the
// accumulators would spill to memory.

// Computes one row of C ← alpha·(w0, w1, w2, w3) + beta·C. Reads C only if `readsC` is true.
@inline function blend_wide(c: usize, w0: v128, w1: v128, w2: v128, w3: v128, alpha: v128, beta: v128, readsC: bool): void {
  blend(c, w0, w1, alpha, beta, readsC);
  blend(c + 32, w2, w3, alpha, beta, readsC);
}

// Both 6 × 16 micro-kernels. `b` points to k steps of 16 elements each. `c` points to 6 rows of 16 elements, which are `ldc`
// bytes apart. With beta = 0, C is not read. If `by_rows` is false, `a` points to k steps of 6 elements each. If it is true, `a`
// points to 6 rows, and k is even. Two steps at a time are faster, because adding to the addresses and checking the loop take the
// units that multiply. `by_rows` is a constant wherever the function is inlined, so each micro-kernel has only the
// statements of its own case.
@inline function multiply_wide(by_rows: bool, k: u32, a: usize, lda: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c02 = f32x4.splat(0), c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0), c11 = f32x4.splat(0), c12 = f32x4.splat(0), c13 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c22 = f32x4.splat(0), c23 = f32x4.splat(0);
  let c30 = f32x4.splat(0), c31 = f32x4.splat(0), c32 = f32x4.splat(0), c33 = f32x4.splat(0);
  let c40 = f32x4.splat(0), c41 = f32x4.splat(0), c42 = f32x4.splat(0), c43 = f32x4.splat(0);
  let c50 = f32x4.splat(0), c51 = f32x4.splat(0), c52 = f32x4.splat(0), c53 = f32x4.splat(0);
  let b0: v128, b1: v128, b2: v128, b3: v128, ai: v128;
  let a0 = a, a1: usize = 0, a2: usize = 0, a3: usize = 0, a4: usize = 0, a5: usize = 0;
  if (by_rows) a1 = a0 + lda, a2 = a1 + lda, a3 = a2 + lda, a4 = a3 + lda, a5 = a4 + lda;
  for (; k >= 2; k -= 2) {
    b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
    ai = v128.load32_splat(a0);
    c00 = f32x4.relaxed_madd(ai, b0, c00), c01 = f32x4.relaxed_madd(ai, b1, c01), c02 = f32x4.relaxed_madd(ai, b2, c02), c03 = f32x4.relaxed_madd(ai, b3, c03);
    ai = by_rows ? v128.load32_splat(a1) : v128.load32_splat(a0, 4);
    c10 = f32x4.relaxed_madd(ai, b0, c10), c11 = f32x4.relaxed_madd(ai, b1, c11), c12 = f32x4.relaxed_madd(ai, b2, c12), c13 = f32x4.relaxed_madd(ai, b3, c13);
    ai = by_rows ? v128.load32_splat(a2) : v128.load32_splat(a0, 8);
    c20 = f32x4.relaxed_madd(ai, b0, c20), c21 = f32x4.relaxed_madd(ai, b1, c21), c22 = f32x4.relaxed_madd(ai, b2, c22), c23 = f32x4.relaxed_madd(ai, b3, c23);
    ai = by_rows ? v128.load32_splat(a3) : v128.load32_splat(a0, 12);
    c30 = f32x4.relaxed_madd(ai, b0, c30), c31 = f32x4.relaxed_madd(ai, b1, c31), c32 = f32x4.relaxed_madd(ai, b2, c32), c33 = f32x4.relaxed_madd(ai, b3, c33);
    ai = by_rows ? v128.load32_splat(a4) : v128.load32_splat(a0, 16);
    c40 = f32x4.relaxed_madd(ai, b0, c40), c41 = f32x4.relaxed_madd(ai, b1, c41), c42 = f32x4.relaxed_madd(ai, b2, c42), c43 = f32x4.relaxed_madd(ai, b3, c43);
    ai = by_rows ? v128.load32_splat(a5) : v128.load32_splat(a0, 20);
    c50 = f32x4.relaxed_madd(ai, b0, c50), c51 = f32x4.relaxed_madd(ai, b1, c51), c52 = f32x4.relaxed_madd(ai, b2, c52), c53 = f32x4.relaxed_madd(ai, b3, c53);

    b0 = v128.load(b, 64), b1 = v128.load(b, 80), b2 = v128.load(b, 96), b3 = v128.load(b, 112);
    ai = by_rows ? v128.load32_splat(a0, 4) : v128.load32_splat(a0, 24);
    c00 = f32x4.relaxed_madd(ai, b0, c00), c01 = f32x4.relaxed_madd(ai, b1, c01), c02 = f32x4.relaxed_madd(ai, b2, c02), c03 = f32x4.relaxed_madd(ai, b3, c03);
    ai = by_rows ? v128.load32_splat(a1, 4) : v128.load32_splat(a0, 28);
    c10 = f32x4.relaxed_madd(ai, b0, c10), c11 = f32x4.relaxed_madd(ai, b1, c11), c12 = f32x4.relaxed_madd(ai, b2, c12), c13 = f32x4.relaxed_madd(ai, b3, c13);
    ai = by_rows ? v128.load32_splat(a2, 4) : v128.load32_splat(a0, 32);
    c20 = f32x4.relaxed_madd(ai, b0, c20), c21 = f32x4.relaxed_madd(ai, b1, c21), c22 = f32x4.relaxed_madd(ai, b2, c22), c23 = f32x4.relaxed_madd(ai, b3, c23);
    ai = by_rows ? v128.load32_splat(a3, 4) : v128.load32_splat(a0, 36);
    c30 = f32x4.relaxed_madd(ai, b0, c30), c31 = f32x4.relaxed_madd(ai, b1, c31), c32 = f32x4.relaxed_madd(ai, b2, c32), c33 = f32x4.relaxed_madd(ai, b3, c33);
    ai = by_rows ? v128.load32_splat(a4, 4) : v128.load32_splat(a0, 40);
    c40 = f32x4.relaxed_madd(ai, b0, c40), c41 = f32x4.relaxed_madd(ai, b1, c41), c42 = f32x4.relaxed_madd(ai, b2, c42), c43 = f32x4.relaxed_madd(ai, b3, c43);
    ai = by_rows ? v128.load32_splat(a5, 4) : v128.load32_splat(a0, 44);
    c50 = f32x4.relaxed_madd(ai, b0, c50), c51 = f32x4.relaxed_madd(ai, b1, c51), c52 = f32x4.relaxed_madd(ai, b2, c52), c53 = f32x4.relaxed_madd(ai, b3, c53);

    a0 += by_rows ? 8 : 48;
    if (by_rows) a1 += 8, a2 += 8, a3 += 8, a4 += 8, a5 += 8;
    b += 128;
  }
  if (!by_rows && k != 0) {
    b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
    ai = v128.load32_splat(a0);
    c00 = f32x4.relaxed_madd(ai, b0, c00), c01 = f32x4.relaxed_madd(ai, b1, c01), c02 = f32x4.relaxed_madd(ai, b2, c02), c03 = f32x4.relaxed_madd(ai, b3, c03);
    ai = v128.load32_splat(a0, 4);
    c10 = f32x4.relaxed_madd(ai, b0, c10), c11 = f32x4.relaxed_madd(ai, b1, c11), c12 = f32x4.relaxed_madd(ai, b2, c12), c13 = f32x4.relaxed_madd(ai, b3, c13);
    ai = v128.load32_splat(a0, 8);
    c20 = f32x4.relaxed_madd(ai, b0, c20), c21 = f32x4.relaxed_madd(ai, b1, c21), c22 = f32x4.relaxed_madd(ai, b2, c22), c23 = f32x4.relaxed_madd(ai, b3, c23);
    ai = v128.load32_splat(a0, 12);
    c30 = f32x4.relaxed_madd(ai, b0, c30), c31 = f32x4.relaxed_madd(ai, b1, c31), c32 = f32x4.relaxed_madd(ai, b2, c32), c33 = f32x4.relaxed_madd(ai, b3, c33);
    ai = v128.load32_splat(a0, 16);
    c40 = f32x4.relaxed_madd(ai, b0, c40), c41 = f32x4.relaxed_madd(ai, b1, c41), c42 = f32x4.relaxed_madd(ai, b2, c42), c43 = f32x4.relaxed_madd(ai, b3, c43);
    ai = v128.load32_splat(a0, 20);
    c50 = f32x4.relaxed_madd(ai, b0, c50), c51 = f32x4.relaxed_madd(ai, b1, c51), c52 = f32x4.relaxed_madd(ai, b2, c52), c53 = f32x4.relaxed_madd(ai, b3, c53);
  }
  const alphas = f32x4.splat(alpha), betas = f32x4.splat(beta), readsC = beta != 0;
  blend_wide(c + 0 * ldc, c00, c01, c02, c03, alphas, betas, readsC);
  blend_wide(c + 1 * ldc, c10, c11, c12, c13, alphas, betas, readsC);
  blend_wide(c + 2 * ldc, c20, c21, c22, c23, alphas, betas, readsC);
  blend_wide(c + 3 * ldc, c30, c31, c32, c33, alphas, betas, readsC);
  blend_wide(c + 4 * ldc, c40, c41, c42, c43, alphas, betas, readsC);
  blend_wide(c + 5 * ldc, c50, c51, c52, c53, alphas, betas, readsC);
}

// C ← alpha·A·B + beta·C for one micro-tile, with an A that is packed in columns of 6 elements.
export function multiply_6x16(k: u32, a: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  multiply_wide(false, k, a, 0, b, c, ldc, alpha, beta);
}

// Whether `multiply_6_rows_by_16` can multiply so many rows of A in k steps, which then need not be packed.
@inline export function reads_rows(rows: u32, k: u32): bool {
  return is_paired() && rows % MR_PAIRED == 0 && k % 2 == 0;
}

// Does the same as `multiply_6x16` for an A that is stored by rows, which are `lda` bytes apart. k must be even.
export function multiply_6_rows_by_16(k: u32, a: usize, lda: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  multiply_wide(true, k, a, lda, b, c, ldc, alpha, beta);
}
