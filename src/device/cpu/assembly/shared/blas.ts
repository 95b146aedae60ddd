// Products by a BLAS library outside of WebAssembly. The library reads and writes the memory of this module.
// The backend decides whether it is used (src/device/cpu/blas/).

// cblas_sgemm with matrices stored by rows: C ← alpha·op(A)·op(B) + beta·C, where C is (m, n) and op(A) is
// (m, k). `a`, `b` and `c` are addresses, and `lda`, `ldb` and `ldc` are counted in elements.
// @ts-ignore: decorator
@external("env", "sgemm")
export declare function sgemm(
  transA: bool, transB: bool, m: u32, n: u32, k: u32,
  alpha: f32, a: usize, lda: u32, b: usize, ldb: u32, beta: f32, c: usize, ldc: u32,
): void;

// With `upper`, the rows of C that cross the diagonal are multiplied in strips of this height. Each strip starts
// at the diagonal.
const STRIP: u32 = 128;

let blas: bool = false;

// The backend calls this function once per instance of the module, before any kernel runs.
export function set_blas(on: bool): void {
  blas = on;
}

// @ts-ignore: decorator
@inline export function uses_blas(): bool {
  return blas;
}

// C ← alpha·op(A)·op(B) + beta·C for a block of C with `rows` rows and `cols` columns. `rowStep` and `colStep`
// are the distances in elements between the rows of op(A) and between the columns of op(B). With `upper`,
// elements below the diagonal of the whole matrix may be left as they are. `shift` is the block's first row
// minus its first column in that matrix.
export function multiply_by_blas(
  transA: bool, transB: bool, rows: u32, cols: u32, k: u32, alpha: f32, a: usize, lda: u32, b: usize, ldb: u32,
  beta: f32, c: usize, ldc: u32, upper: bool, shift: i32, rowStep: usize, colStep: usize,
): void {
  // The first `whole` rows do not cross the diagonal, so one call multiplies them.
  const whole = upper ? <u32>min<i32>(<i32>rows, max<i32>(0, 1 - shift)) : rows;
  if (whole > 0) sgemm(transA, transB, whole, cols, k, alpha, a, lda, b, ldb, beta, c, ldc);
  for (let i = whole; i < rows; i += STRIP) {
    const first = <u32>max(0, <i32>i + shift);
    if (first >= cols) return;
    const height = min(STRIP, rows - i);
    const aStrip = a + (<usize>i * rowStep << 2), bStrip = b + (<usize>first * colStep << 2);
    const cStrip = c + ((<usize>i * ldc + first) << 2);
    sgemm(transA, transB, height, cols - first, k, alpha, aStrip, lda, bStrip, ldb, beta, cStrip, ldc);
  }
}
