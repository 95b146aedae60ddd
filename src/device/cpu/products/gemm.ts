/** The functions with which a library multiplies matrices. */

/**
 * C ← α·op(A)·op(B) + β·C with matrices stored by rows, where C is (m, n) and op(A) is (m, k). `a`, `b` and `c` are
 * addresses, and `lda`, `ldb` and `ldc` count elements.
 */
export type Gemm = (
  transA: number,
  transB: number,
  m: number,
  n: number,
  k: number,
  alpha: number,
  a: number,
  lda: number,
  b: number,
  ldb: number,
  beta: number,
  c: number,
  ldc: number,
) => void;

/** The functions `env.sgemm` and `env.bgemm` that the WebAssembly module imports (`assembly/shared/library.ts`). */
export interface Products {
  readonly sgemm: Gemm;
  /** Present if the precision is bfloat16. */
  readonly bgemm?: Gemm;
}
