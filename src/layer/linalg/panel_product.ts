/**
 * Computes the product P = M·R, where R is upper triangular, one panel of columns at a time. Only one panel of P is
 * ever stored. Within a panel the caller goes from block to block, and chooses the columns of M that enter each block.
 * The full product takes the columns up to and including the block. The lazy batch update of the SparseGPT solver takes
 * only the columns left of the block. The elements of R below its diagonal blocks are undefined, and are never read.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { gemmNN } from "../../device/kernels/gemm.ts";
import { type IndexRange, panelWidth, splitIntoPanels } from "./blocking.ts";
import { gemm } from "./gemm.ts";
import { type Submatrix, submatrixOf } from "./submatrix.ts";

/** The product of M, (rows, n), and R, (n, n) in upper storage, with the same tile edge, a multiple of `blocksize`. */
export class PanelProduct {
  /** (rows, width) f32: the current panel of P. */
  readonly buffer: DeviceBuffer;
  /** The number of columns of a panel, and the leading dimension of `buffer`. */
  readonly width: number;
  readonly rows: number;
  readonly #backend: Backend;
  readonly #m: TiledMatrix;
  readonly #r: TiledMatrix;

  /** @throws {OutOfDeviceMemoryError} if the panel cannot be allocated */
  constructor(backend: Backend, m: TiledMatrix, r: TiledMatrix, readonly blocksize: number) {
    this.rows = m.rows;
    this.#backend = backend;
    this.#m = m;
    this.#r = r;
    this.width = panelWidth(m.rows, blocksize, m.edge, backend.maxBufferBytes);
    this.buffer = backend.createBuffer("panel of a product", 4 * m.rows * this.width);
  }

  /** Returns the column ranges of the panels, from left to right. */
  panels(): Generator<IndexRange> {
    return splitIntoPanels(this.#m.cols, this.#m.edge, this.width);
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
    const tilesLeft = Math.ceil(panel.start / this.#m.edge);
    for (let j = 0; j < tilesLeft; j++) {
      const start = j * this.#m.edge;
      const inner = { start, end: Math.min(start + this.#m.edge, panel.start) };
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
    const edge = this.#m.edge, j = Math.floor(inner.start / edge);
    const r = submatrixOf(this.#r.tile(j, Math.floor(target.start / edge)), inner.start, target.start);
    for (let i = 0; i < this.#m.tileRows; i++) {
      const m: Tile = this.#m.tile(i, j);
      gemm(
        this.#backend,
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
