// Products by a library outside of WebAssembly. The library reads and writes the memory of this module. The backend
// decides whether one is used (src/device/cpu/products/).

// C ← alpha·op(A)·op(B) + beta·C in f32 with matrices stored by rows, where C is (m, n) and op(A) is (m, k). `a`,
// `b` and `c` are addresses, and `lda`, `ldb` and `ldc` are counted in elements.
@external("env", "sgemm")
declare function sgemm(
  transA: bool, transB: bool, m: u32, n: u32, k: u32,
  alpha: f32, a: usize, lda: u32, b: usize, ldb: u32, beta: f32, c: usize, ldc: u32,
): void;

// The same product for A and B in bf16. C and the sums are f32.
@external("env", "bgemm")
declare function bgemm(
  transA: bool, transB: bool, m: u32, n: u32, k: u32,
  alpha: f32, a: usize, lda: u32, b: usize, ldb: u32, beta: f32, c: usize, ldc: u32,
): void;

// With `upper`, the rows of C that cross the diagonal are multiplied in strips of about this height, each from the
// diagonal on.
const STRIP: u32 = 128;

let library: bool = false;

// The backend calls this function once per instance of the module, before any kernel runs.
export function set_library(isPresent: bool): void {
  library = isPresent;
}

@inline export function uses_library(): bool {
  return library;
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
  if (whole > 0) multiply_block(rounded, transA, transB, whole, cols, k, alpha, a, lda, b, ldb, beta, c, ldc);
  for (let i = whole, height: u32 = 0; i < rows; i += height) {
    const first = <u32>max(0, <i32>i + shift);
    if (first >= cols) return;
    height = rows - i < STRIP + STRIP / 2 ? rows - i : STRIP;
    const aStrip = a + (<usize>i * rowStep << size), bStrip = b + (<usize>first * colStep << size);
    const cStrip = c + ((<usize>i * ldc + first) << 2);
    multiply_block(rounded, transA, transB, height, cols - first, k, alpha, aStrip, lda, bStrip, ldb, beta, cStrip, ldc);
  }
}

// C ← alpha·op(A)·op(B) + beta·C. With `rounded`, A and B are bf16.
@inline export function multiply_block(
  rounded: bool, transA: bool, transB: bool, m: u32, n: u32, k: u32, alpha: f32, a: usize, lda: u32, b: usize,
  ldb: u32, beta: f32, c: usize, ldc: u32,
): void {
  if (rounded) bgemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  else sgemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
