/**
 * Multiplies two submatrices with a gemm kernel. `gemm` (general matrix multiplication) is the name of this
 * product in BLAS.
 */

import type { Backend } from "../backend/backend.ts";
import type { gemmNN, gemmNT, gemmTN } from "../kernels/gemm.ts";
import type { Submatrix } from "./submatrix.ts";

/**
 * The sizes and scalars of C ← α·op(A)·op(B) + β·C, where op(A) is (m, k), op(B) is (k, n) and C is (m, n).
 * op(A) is A or Aᵀ.
 */
interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /**
   * α.
   * @default 1
   */
  readonly alpha?: number;
  /**
   * β. With 0, the old values of C are not read.
   * @default 0
   */
  readonly beta?: number;
  /**
   * Whether only the elements of C with row ≤ column + `rowsAbove` are needed. The other elements may or may
   * not be computed.
   * @default false
   */
  readonly upper?: boolean;
  /**
   * The number of rows of C above the square whose upper triangle is needed.
   * @default 0
   */
  readonly rowsAbove?: number;
}

/**
 * Queues one product. `kernel` determines which operand is transposed. `gemmNN` uses A and B, `gemmNT` uses A
 * and Bᵀ, and `gemmTN` uses Aᵀ and B. C must not lie in the buffer of A or B, even if the submatrices do not
 * overlap, because WebGPU rejects a dispatch that binds one buffer both for reading and for writing.
 */
export function gemm(
  backend: Backend,
  kernel: typeof gemmNN | typeof gemmNT | typeof gemmTN,
  a: Submatrix,
  b: Submatrix,
  c: Submatrix,
  product: Product,
): void {
  const { m, n, k, alpha = 1, beta = 0, upper = false, rowsAbove = 0 } = product;
  if (m === 0 || n === 0) return;
  backend.dispatch(kernel, { a: a.buffer, b: b.buffer, c: c.buffer }, {
    m,
    n,
    k,
    a_offset: a.offset,
    lda: a.ld,
    b_offset: b.offset,
    ldb: b.ld,
    c_offset: c.offset,
    ldc: c.ld,
    alpha,
    beta,
    upper: upper ? 1 + rowsAbove : 0,
  });
}
