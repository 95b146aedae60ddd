/**
 * M·R for an upper triangular R on tiles, a panel of columns at a time, into one scratch panel. The caller chooses how much of the
 * triangle enters a block: what is left of it (the lazy batch) or that and the block itself (the whole product). Reads nothing
 * below R's diagonal blocks, where its tiles hold anything.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { gemmNN } from "../kernels/gemm.ts";
import { panelWidth } from "./blocking.ts";
import { type Block, blockOf, gemm } from "./gemm.ts";
import { panels, type Range } from "./ranges.ts";

/** The product of M, (rows, n), and R, (n, n) upper; both have one tile edge, a multiple of `blocksize`. */
export class PanelProduct {
  /** (rows, width) f32: the current panel. */
  readonly buffer: DeviceBuffer;
  readonly width: number;
  readonly rows: number;
  readonly #backend: Backend;
  readonly #m: TiledMatrix;
  readonly #r: TiledMatrix;

  constructor(backend: Backend, m: TiledMatrix, r: TiledMatrix, readonly blocksize: number) {
    this.rows = m.rows;
    this.#backend = backend;
    this.#m = m;
    this.#r = r;
    this.width = panelWidth(m.rows, blocksize, m.edge, backend.maxBufferBytes);
    this.buffer = backend.createBuffer("panel of a product", 4 * m.rows * this.width);
  }

  /** The panels of M's columns, first to last. */
  panels(): Generator<Range> {
    return panels(this.#m.cols, this.#m.edge, this.width);
  }

  /** The panel's element (row, col), counted in the whole matrix. */
  block(panel: Range, row: number, col: number): Block {
    return { buffer: this.buffer, offset: row * this.width + (col - panel.start), ld: this.width };
  }

  /** Queues P(:, p) = M(:, 0:p)·R(0:p, p), all columns left of the panel p. The first panel has none, and is left undefined. */
  begin(panel: Range): void {
    const tilesLeft = Math.ceil(panel.start / this.#m.edge);
    for (let j = 0; j < tilesLeft; j++) {
      const start = j * this.#m.edge;
      const inner = { start, end: Math.min(start + this.#m.edge, panel.start) };
      this.#add(panel, inner, panel, j > 0);
    }
  }

  /** Queues P(:, k) += M(:, inner)·R(inner, k), `inner` from the panel's start on, after `begin`. */
  extend(panel: Range, inner: Range, k: Range): void {
    this.#add(panel, inner, k, panel.start > 0);
  }

  #add(panel: Range, inner: Range, k: Range, accumulate: boolean): void {
    if (inner.start === inner.end) return;
    const edge = this.#m.edge, j = Math.floor(inner.start / edge);
    const r = blockOf(this.#r.tile(j, Math.floor(k.start / edge)), inner.start, k.start);
    for (let i = 0; i < this.#m.tileRows; i++) {
      const m: Tile = this.#m.tile(i, j);
      gemm(
        this.#backend,
        gemmNN,
        blockOf(m, m.row0, inner.start),
        r,
        this.block(panel, m.row0, k.start),
        { m: m.rows, n: k.end - k.start, k: inner.end - inner.start, beta: accumulate ? 1 : 0 },
      );
    }
  }

  destroy(): void {
    this.buffer.destroy();
  }
}
