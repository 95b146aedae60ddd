/** Multiplies submatrices. `gemm` (general matrix multiplication) is the name of the product in BLAS. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { gemmNN, gemmNT } from "../../device/kernels/gemm.ts";
import {
  type IndexRange,
  panelWidth,
  splitIntoPanels,
  type Tile,
  type TiledMatrix,
} from "../../device/tiled_matrix.ts";
import { type Submatrix, submatrixOf } from "./tile_arithmetic.ts";

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
  kernel: typeof gemmNN,
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

/**
 * Computes the product P = M·R of M, (rows, n), and an upper triangular R, (n, n) in upper storage, one panel of columns
 * at a time. Both have the same tile edge, a multiple of `blocksize`. Only one panel of P is ever stored. Within a panel
 * the caller goes from block to block, and chooses the columns of M that enter each block. The full product takes the
 * columns up to and including the block. The lazy batch update of the SparseGPT solver takes only the columns left of
 * the block. The elements of R below its diagonal blocks are undefined, and are never read.
 */
export class PanelProduct {
  /** (rows, width) f32: the current panel of P. */
  readonly buffer: DeviceBuffer;
  /** The number of columns of a panel, and the leading dimension of `buffer`. */
  readonly width: number;
  readonly rows: number;

  /** @throws {OutOfDeviceMemoryError} if the panel cannot be allocated */
  constructor(
    private readonly backend: Backend,
    private readonly m: TiledMatrix,
    private readonly r: TiledMatrix,
    readonly blocksize: number,
  ) {
    this.rows = m.rows;
    this.width = panelWidth(m.rows, blocksize, m.edge, backend.maxBufferBytes);
    this.buffer = backend.createBuffer("panel of a product", 4 * m.rows * this.width);
  }

  /** Returns the column ranges of the panels, from left to right. */
  panels(): Generator<IndexRange> {
    return splitIntoPanels(this.m.cols, this.m.edge, this.width);
  }

  /** Returns the submatrix of `panel` that starts at row `row` and column `col` of P. */
  submatrix(panel: IndexRange, row: number, col: number): Submatrix {
    return { buffer: this.buffer, offset: row * this.width + (col - panel.start), ld: this.width };
  }

  /**
   * Queues P(:, panel) = M(:, left)·R(left, panel), where `left` is all columns left of the panel. The first panel has
   * no such columns, so its contents stay undefined.
   */
  startPanel(panel: IndexRange): void {
    const tilesLeft = Math.ceil(panel.start / this.m.edge);
    for (let j = 0; j < tilesLeft; j++) {
      const start = j * this.m.edge;
      const inner = { start, end: Math.min(start + this.m.edge, panel.start) };
      this.#multiply(panel, inner, panel, j > 0);
    }
  }

  /**
   * Queues P(:, block) += M(:, inner)·R(inner, block), where `inner` starts at the panel's first column. Must be called
   * once per block, after `startPanel`. In the first panel, which `startPanel` leaves undefined, the product is
   * assigned and not added.
   */
  addWithinPanel(panel: IndexRange, inner: IndexRange, block: IndexRange): void {
    this.#multiply(panel, inner, block, panel.start > 0);
  }

  #multiply(panel: IndexRange, inner: IndexRange, target: IndexRange, accumulate: boolean): void {
    if (inner.start === inner.end) return;
    const edge = this.m.edge, j = Math.floor(inner.start / edge);
    const r = submatrixOf(this.r.tile(j, Math.floor(target.start / edge)), inner.start, target.start);
    for (let i = 0; i < this.m.tileRows; i++) {
      const m: Tile = this.m.tile(i, j);
      gemm(
        this.backend,
        gemmNN,
        submatrixOf(m, m.row0, inner.start),
        r,
        this.submatrix(panel, m.row0, target.start),
        { m: m.rows, n: target.end - target.start, k: inner.end - inner.start, beta: accumulate ? 1 : 0 },
      );
    }
  }

  destroy(): void {
    this.buffer.destroy();
  }
}
