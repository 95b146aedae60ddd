// Products by a library outside of WebAssembly. The library reads and writes the memory of this module. The backend
// decides whether one is used (src/device/cpu/products/).

import { scratch } from "./instance";

// C ← alpha·op(A)·op(B) + beta·C in f32 with matrices stored by rows, where C is (m, n) and op(A) is (m, k). `a`,
// `b` and `c` are addresses, and `lda`, `ldb` and `ldc` are counted in elements.
// @ts-ignore: decorator
@external("env", "sgemm")
export declare function sgemm(
  transA: bool, transB: bool, m: u32, n: u32, k: u32,
  alpha: f32, a: usize, lda: u32, b: usize, ldb: u32, beta: f32, c: usize, ldc: u32,
): void;

// The same product for A and B in bf16. C and the sums are f32.
// @ts-ignore: decorator
@external("env", "bgemm")
declare function bgemm(
  transA: bool, transB: bool, m: u32, n: u32, k: u32,
  alpha: f32, a: usize, lda: u32, b: usize, ldb: u32, beta: f32, c: usize, ldc: u32,
): void;

// With `upper`, the rows of C that cross the diagonal are multiplied in strips of about this height. Each strip starts
// at the diagonal.
const STRIP: u32 = 128;
// The most steps of k that are rounded at a time. The rounded rows and columns of the largest block of C, 512 × 1024,
// then have 3 MiB, which fit into the scratch.
const ROUNDED_STEPS: u32 = 1024;

let library: bool = false;
let bfloat16: bool = false;

// The backend calls this function once per instance of the module, before any kernel runs.
export function set_library(multipliesFloat32: bool, multipliesBfloat16: bool): void {
  library = multipliesFloat32;
  bfloat16 = multipliesBfloat16;
}

// @ts-ignore: decorator
@inline export function uses_library(): bool {
  return library;
}

// Whether the products of the forward pass and of the statistics round their operands to bf16.
// @ts-ignore: decorator
@inline export function uses_bfloat16(): bool {
  return bfloat16;
}

// C ← alpha·op(A)·op(B) + beta·C for a block of C with `rows` rows and `cols` columns. With `upper`, elements below
// the diagonal of the whole matrix may be left as they are. `shift` is the block's first row minus its first column
// in that matrix. With `rounded`, A and B are bf16.
export function multiply_by_library(
  rounded: bool, transA: bool, transB: bool, rows: u32, cols: u32, k: u32, alpha: f32, a: usize, lda: u32, b: usize,
  ldb: u32, beta: f32, c: usize, ldc: u32, upper: bool, shift: i32,
): void {
  // The first rows do not cross the diagonal, so one call multiplies them, unless they are too few to be worth a call.
  const above = upper ? <u32>min<i32>(<i32>rows, max<i32>(0, 1 - shift)) : rows;
  const whole = above == rows || above >= STRIP / 2 ? above : 0, size: usize = rounded ? 1 : 2;
  const rowStep: usize = transA ? 1 : lda, colStep: usize = transB ? ldb : 1;
  if (whole > 0) multiply(rounded, transA, transB, whole, cols, k, alpha, a, lda, b, ldb, beta, c, ldc);
  for (let i = whole, height: u32 = 0; i < rows; i += height) {
    const first = <u32>max(0, <i32>i + shift);
    if (first >= cols) return;
    height = rows - i < STRIP + STRIP / 2 ? rows - i : STRIP;
    const aStrip = a + (<usize>i * rowStep << size), bStrip = b + (<usize>first * colStep << size);
    const cStrip = c + ((<usize>i * ldc + first) << 2);
    multiply(rounded, transA, transB, height, cols - first, k, alpha, aStrip, lda, bStrip, ldb, beta, cStrip, ldc);
  }
}

// @ts-ignore: decorator
@inline function multiply(
  rounded: bool, transA: bool, transB: bool, m: u32, n: u32, k: u32, alpha: f32, a: usize, lda: u32, b: usize,
  ldb: u32, beta: f32, c: usize, ldc: u32,
): void {
  if (rounded) bgemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  else sgemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// The same product, but the block's rows of op(A) and columns of op(B) are first rounded to bf16.
export function multiply_rounded(
  transA: bool, transB: bool, rows: u32, cols: u32, k: u32, alpha: f32, a: usize, lda: u32, b: usize, ldb: u32,
  beta: f32, c: usize, ldc: u32, upper: bool, shift: i32,
): void {
  const roundedA = scratch();
  one = i32x4.splat(1);
  belowHalf = i32x4.splat(0x7fff);
  for (let k0: u32 = 0; k0 < k; k0 += ROUNDED_STEPS) {
    const depth = min(ROUNDED_STEPS, k - k0);
    const ldRoundedA = transA ? rows : depth, ldRoundedB = transB ? depth : cols;
    const roundedB = roundedA + (<usize>rows * depth << 1);
    round_rows(a + (transA ? <usize>k0 * lda : k0) * 4, lda, transA ? depth : rows, ldRoundedA, roundedA);
    round_rows(b + (transB ? k0 : <usize>k0 * ldb) * 4, ldb, transB ? cols : depth, ldRoundedB, roundedB);
    multiply_by_library(
      true, transA, transB, rows, cols, depth, alpha, roundedA, ldRoundedA, roundedB, ldRoundedB,
      k0 == 0 ? beta : 1, c, ldc, upper, shift,
    );
  }
}

// The constants of `round` are globals, because V8 reads a global with one load, but builds a v128.const from three
// instructions at every use.
let one: v128 = i32x4.splat(0);
let belowHalf: v128 = i32x4.splat(0);

// Rounds four f32 to bf16 in the low halves of the lanes, to nearest even. Every NaN becomes 0xffff. This is faster than
// narrow_bf16 of float16.ts, which keeps the payload of a NaN.
// @ts-ignore: decorator
@inline function round(words: v128): v128 {
  const rounded = i32x4.add(i32x4.add(words, belowHalf), v128.and(i32x4.shr_u(words, 16), one));
  return i32x4.shr_u(v128.or(rounded, f32x4.ne(words, words)), 16);
}

// target ← source, (rows, cols), rounded to bf16 and without a distance between the rows.
function round_rows(source: usize, ld: u32, rows: u32, cols: u32, target: usize): void {
  for (let r: u32 = 0; r < rows; r++, source += <usize>ld << 2, target += <usize>cols << 1) {
    let i: u32 = 0;
    for (; i + 8 <= cols; i += 8) {
      const from = source + (<usize>i << 2);
      v128.store(target + (<usize>i << 1), i16x8.narrow_i32x4_u(round(v128.load(from)), round(v128.load(from, 16))));
    }
    for (; i < cols; i++) {
      const word = round(v128.load32_splat(source + (<usize>i << 2)));
      store<u16>(target + (<usize>i << 1), <u16>i32x4.extract_lane(word, 0));
    }
  }
}
