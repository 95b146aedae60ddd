/**
 * Computes the quadratic form tr(M·H·Mᵀ), where H = Σ x·xᵀ is the sum over the calibration inputs x of a layer. If M is
 * a change of the layer's weights, the form is the squared error that the change causes in the layer's outputs.
 *
 * There are two ways to compute the form. `addFactoredForm` computes it as ‖M·R‖² from the factor R of H = R·Rᵀ.
 * `addQuadraticForm` computes it from H itself. Both functions add to one sum per row of M (`RowSums`).
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { panelWidth, splitIntoPanels, splitRange, type TiledMatrix } from "../../device/tiled_matrix.ts";
import { mirrorUpper } from "../../device/kernels/mirror_upper.ts";
import { gemmNN } from "../../device/kernels/gemm.ts";
import { rowDot } from "../../device/kernels/row_dot.ts";
import { gemm, type PanelProduct } from "./gemm.ts";
import { type Submatrix, submatrixOf, tilePairs } from "./tile_arithmetic.ts";

/** `columns` sums per row of a matrix: a row-major (rows, columns) f32 array on the device. All sums start at 0. */
export class RowSums {
  readonly buffer: DeviceBuffer;
  readonly #columns: number;

  constructor(private readonly backend: Backend, private readonly rows: number, columns: number) {
    this.#columns = columns;
    this.buffer = backend.createBuffer("sums of the rows", 4 * rows * columns);
    backend.clear(this.buffer);
  }

  /**
   * For each row r of two (rows, cols) submatrices x and y, queues adding the dot product x(r, :)·y(r, :) to sum
   * `column` of row row0 + r.
   */
  addDot(column: number, row0: number, x: Submatrix, y: Submatrix, rows: number, cols: number): void {
    this.backend.dispatch(rowDot, { x: x.buffer, y: y.buffer, sums: this.buffer }, {
      rows,
      cols,
      x_offset: x.offset,
      ldx: x.ld,
      y_offset: y.offset,
      ldy: y.ld,
      sums_offset: row0 * this.#columns + column,
      sums_stride: this.#columns,
      scale: 1,
    });
  }

  /** Returns the sums of each column, (rows) f32 per column. Waits for the device. @throws {DeviceLostError} */
  async columns(): Promise<Float32Array[]> {
    const bytes = await this.backend.read(this.buffer, 0, 4 * this.rows * this.#columns);
    const sums = new Float32Array(bytes.buffer);
    return Array.from(
      { length: this.#columns },
      (_, column) => Float32Array.from({ length: this.rows }, (_, row) => sums[row * this.#columns + column]),
    );
  }

  /** Returns the total of each column over all rows. Waits for the device. @throws {DeviceLostError} */
  async totals(): Promise<number[]> {
    return (await this.columns()).map(total);
  }

  destroy(): void {
    this.buffer.destroy();
  }
}

/** Returns the sum of `values` in float64. */
export function total(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/**
 * For each row r of M, queues adding ‖M(r, :)·R‖² to sum `column` of row r. R is the factor of the damped H, so the
 * total over all rows is tr(M·H·Mᵀ) with the damped H.
 * @param product the product of M and R
 */
export function addFactoredForm(product: PanelProduct, sums: RowSums, column: number): void {
  for (const panel of product.panels()) {
    product.startPanel(panel);
    for (const k of splitRange(panel, product.blocksize)) {
      product.addWithinPanel(panel, { start: panel.start, end: k.end }, k);
    }
    const p = product.submatrix(panel, 0, panel.start);
    sums.addDot(column, 0, p, p, product.rows, panel.end - panel.start);
  }
}

/** For each row r of two matrices, queues adding ⟨x(r, :), y(r, :)⟩ to sum `column` of row r. */
export function addInnerProduct(x: TiledMatrix, y: TiledMatrix, sums: RowSums, column: number): void {
  for (const [tileX, tileY] of tilePairs(x, y)) {
    const { row0, col0, rows, cols } = tileX;
    sums.addDot(column, row0, submatrixOf(tileX, row0, col0), submatrixOf(tileY, row0, col0), rows, cols);
  }
}

/** Queues copying the upper triangle of each diagonal tile of `h` to the tile's undefined lower triangle. */
export function mirrorDiagonalTiles(backend: Backend, h: TiledMatrix): void {
  for (let i = 0; i < h.tileRows; i++) {
    const { buffer: tile, rows: size, ld } = h.tile(i, i);
    backend.dispatch(mirrorUpper, { tile }, { size, ld });
  }
}

/** The width of the narrowest panels of a quadratic form. The products of narrower ones are slower. */
const SMALLEST_PANEL = 256;

/**
 * For each row r of M, queues adding M(r, :)·H·M(r, :)ᵀ to sum `column` of row r. Their total is tr(M·H·Mᵀ).
 *
 * H is symmetric, so the columns are divided into panels, and the form is computed as Σ_p ⟨M_p·H_pp + 2·M_<p·H_<p,p,
 * M_p⟩. Here M_p are the columns of panel p, and M_<p are all columns before them. With many panels, that is half of
 * the multiplications of M·H.
 *
 * H is (n, n) in upper storage with the tile edge of M. The lower triangles of its diagonal tiles must have been filled
 * in by `mirrorDiagonalTiles`.
 */
export function addQuadraticForm(
  backend: Backend,
  m: TiledMatrix,
  h: TiledMatrix,
  sums: RowSums,
  column: number,
): void {
  const tileRows = Math.min(m.rows, m.edge);
  const width = Math.min(
    panelWidth(tileRows, 1, m.edge, backend.maxBufferBytes),
    Math.max(SMALLEST_PANEL, Math.ceil(m.cols / 3)),
  );
  const scratch = backend.createBuffer("panel of a quadratic form", 4 * tileRows * width);
  const product = { buffer: scratch, offset: 0, ld: width };
  for (const panel of splitIntoPanels(m.cols, m.edge, width)) {
    const j = Math.floor(panel.start / m.edge), n = panel.end - panel.start;
    for (let row = 0; row < m.tileRows; row++) {
      const right = m.tile(row, j), panelOfM = submatrixOf(right, right.row0, panel.start);
      const onDiagonal = submatrixOf(h.tile(j, j), panel.start, panel.start);
      gemm(backend, gemmNN, panelOfM, onDiagonal, product, { m: right.rows, n, k: n });
      for (let i = 0; i <= j; i++) {
        const left = m.tile(row, i), tile = h.tile(i, j), k = Math.min(left.cols, panel.start - left.col0);
        if (k === 0) continue;
        gemm(
          backend,
          gemmNN,
          submatrixOf(left, left.row0, left.col0),
          submatrixOf(tile, tile.row0, panel.start),
          product,
          { m: left.rows, n, k, alpha: 2, beta: 1 },
        );
      }
      sums.addDot(column, right.row0, product, panelOfM, right.rows, n);
    }
  }
  scratch.destroy();
}
