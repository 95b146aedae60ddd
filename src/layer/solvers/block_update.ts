/** The lazy batch update of one block of columns (`sparsegpt.ts`), as the product of two matrices. */

import type { Submatrix } from "../linalg/submatrix.ts";

/** The update A_k·U_kk, which is added to the weights of block k before the block is pruned. */
export interface BlockUpdate {
  /** A_k = Σ_{j<k} Δ_j·R_jk, (rows, columns of the block) f32. */
  readonly accumulated: Submatrix;
  /** U_kk, the inverse of the diagonal block k of R, upper triangular. */
  readonly inverse: Submatrix;
}
