/**
 * The product C = M·A with a symmetric matrix A. Matrices are stored in square tiles, and A has only the tiles on and
 * above its diagonal (upper storage).
 */

import type { Backend } from "../backend/backend.ts";
import type { Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { gemmNN, gemmNT } from "../kernels/gemm.ts";
import { gemm } from "./gemm.ts";
import type { Submatrix } from "./submatrix.ts";

/**
 * Queues C = M·A. M and C are (rows, n), and A is (n, n) upper storage, all with the same tile edge. Before the
 * call, the caller fills in the lower triangles of the diagonal tiles of A with `mirrorDiagonalTiles`. C and
 * M must be different matrices.
 */
export function symmetricProduct(backend: Backend, m: TiledMatrix, a: TiledMatrix, c: TiledMatrix): void {
  for (let i = 0; i < m.tileRows; i++) {
    for (let j = 0; j < c.tileCols; j++) {
      const target = c.tile(i, j);
      for (let k = 0; k < m.tileCols; k++) {
        const left = m.tile(i, k);
        // C(i, j) += M(i, k)·A(k, j), where A(k, j) = A(j, k)ᵀ below the diagonal.
        const [kernel, right] = k <= j ? [gemmNN, a.tile(k, j)] : [gemmNT, a.tile(j, k)];
        const sizes = { m: target.rows, n: target.cols, k: left.cols, beta: k > 0 ? 1 : 0 };
        gemm(backend, kernel, whole(left), whole(right), whole(target), sizes);
      }
    }
  }
}

/** Returns a whole tile as an operand of a product. */
function whole({ buffer, ld }: Tile): Submatrix {
  return { buffer, offset: 0, ld };
}
