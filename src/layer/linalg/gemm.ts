/** Multiplies submatrices. `gemm` (general matrix multiplication) is the name of the product in BLAS. */

import type { Backend } from "../../device/backend.ts";
import { gemmNN, gemmNT, type gemmTN } from "../../device/kernels/gemm.ts";
import type { Submatrix } from "./submatrix.ts";
import type { Tile, TiledMatrix } from "../../device/tiled_matrix.ts";

/** The sizes and scalars of C ← α·op(A)·op(B) + β·C, with op(A), A or Aᵀ, (m, k), op(B), (k, n), and C, (m, n). */
interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** α. @default 1 */
  readonly alpha?: number;
  /** β. With 0, the old values of C are not read. @default 0 */
  readonly beta?: number;
  /** Whether only elements of C with row ≤ column + `rowsAbove` are needed. Others may be computed. @default false */
  readonly upper?: boolean;
  /** The number of rows of C above the square whose upper triangle is needed. @default 0 */
  readonly rowsAbove?: number;
}

/**
 * Queues one product. `kernel` determines which operand is transposed. `gemmNN` uses A and B, `gemmNT` uses A and Bᵀ,
 * and `gemmTN` uses Aᵀ and B. C must not lie in the buffer of A or B, even if the submatrices do not overlap, because
 * WebGPU rejects a dispatch that binds one buffer both for reading and for writing.
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

/**
 * Queues C ← α·M·A + β·C for M and C, (rows, n), and a symmetric A, (n, n) upper storage, all with the same tile edge.
 * M and C are different matrices. The caller fills in the lower triangles of A's diagonal tiles with
 * `mirrorDiagonalTiles` before the call.
 */
export function symmetricProduct(
  backend: Backend,
  m: TiledMatrix,
  a: TiledMatrix,
  c: TiledMatrix,
  { alpha = 1, beta = 0 }: Pick<Product, "alpha" | "beta"> = {},
): void {
  for (let i = 0; i < m.tileRows; i++) {
    for (let j = 0; j < c.tileCols; j++) {
      const target = c.tile(i, j);
      for (let k = 0; k < m.tileCols; k++) {
        const left = m.tile(i, k);
        // C(i, j) += M(i, k)·A(k, j), where A(k, j) = A(j, k)ᵀ below the diagonal.
        const [kernel, right] = k <= j ? [gemmNN, a.tile(k, j)] : [gemmNT, a.tile(j, k)];
        const sizes = { m: target.rows, n: target.cols, k: left.cols, alpha, beta: k > 0 ? 1 : beta };
        gemm(backend, kernel, whole(left), whole(right), whole(target), sizes);
      }
    }
  }
}

/** Returns a whole tile as an operand of a product. */
function whole({ buffer, ld }: Tile): Submatrix {
  return { buffer, offset: 0, ld };
}
