/**
 * tr(M·H·Mᵀ), the calibration error a change M of the weights makes, in its two forms: through the factor, as ‖M·R‖², and from H
 * itself. Both add to a sum a row and leave M alone.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { mirrorUpper } from "../kernels/diagonal.ts";
import { gemmNN } from "../kernels/gemm.ts";
import { panelWidth } from "./blocking.ts";
import { blockOf, gemm } from "./gemm.ts";
import type { PanelProduct } from "./panel_product.ts";
import { panels, ranges } from "./ranges.ts";
import type { RowSums } from "./row_sums.ts";

/** Queues sum `column` of every row += that row of ‖M·R‖²: M·R·Rᵀ·Mᵀ on the damped H. `product` is of M and R. */
export function addFactoredForm(product: PanelProduct, sums: RowSums, column: number): void {
  for (const panel of product.panels()) {
    product.begin(panel);
    for (const k of ranges(panel, product.blocksize)) {
      product.extend(panel, { start: panel.start, end: k.end }, k);
    }
    const p = product.block(panel, 0, panel.start);
    sums.addDot(column, 0, p, p, product.rows, panel.end - panel.start);
  }
}

/** Queues sum `column` of every row += that row of ‖M‖². */
export function addSquaredNorm(m: TiledMatrix, sums: RowSums, column: number): void {
  for (const tile of m.tiles()) {
    const block = blockOf(tile, tile.row0, tile.col0);
    sums.addDot(column, tile.row0, block, block, tile.rows, tile.cols);
  }
}

/** Queues the completion of H's diagonal tiles, whose lower triangles may hold anything, from their upper ones. */
export function mirrorDiagonalTiles(backend: Backend, h: TiledMatrix): void {
  for (let i = 0; i < h.tileRows; i++) {
    const { buffer: tile, rows: size, ld } = h.tile(i, i);
    backend.dispatch(mirrorUpper, { tile }, { size, ld });
  }
}

/**
 * Queues sum `column` of every row += that row of Σ_J ⟨M_J·H_JJ + 2·Σ_{I<J} M_I·H_IJ, M_J⟩, which is tr(M·H·Mᵀ). H is (n, n)
 * upper storage with whole diagonal tiles (`mirrorDiagonalTiles`) and M's tile edge.
 */
export function addQuadraticForm(
  backend: Backend,
  m: TiledMatrix,
  h: TiledMatrix,
  sums: RowSums,
  column: number,
): void {
  const width = panelWidth(Math.min(m.rows, m.edge), 1, m.edge, backend.maxBufferBytes);
  const scratch = backend.createBuffer("panel of a quadratic form", 4 * Math.min(m.rows, m.edge) * width);
  const product = { buffer: scratch, offset: 0, ld: width };
  for (const panel of panels(m.cols, m.edge, width)) {
    const j = Math.floor(panel.start / m.edge), cols = panel.end - panel.start;
    for (let row = 0; row < m.tileRows; row++) {
      const ours = m.tile(row, j);
      for (let i = 0; i <= j; i++) {
        const left = m.tile(row, i), tile = h.tile(i, j);
        gemm(
          backend,
          gemmNN,
          blockOf(left, left.row0, left.col0),
          blockOf(tile, tile.row0, panel.start),
          product,
          {
            m: left.rows,
            n: cols,
            k: left.cols,
            alpha: i < j ? 2 : 1,
            beta: i > 0 ? 1 : 0,
          },
        );
      }
      sums.addDot(column, ours.row0, product, blockOf(ours, ours.row0, panel.start), ours.rows, cols);
    }
  }
  scratch.destroy();
}
