/**
 * Factors H = R·Rᵀ with R upper triangular. This is a Cholesky factorisation that runs from the last column to the
 * first. For a matrix of order n it takes n³/3 floating-point operations.
 *
 * Columns are processed in panels, and each panel in blocks. For each panel, the contribution of all finished columns
 * to its right is subtracted first, with one long product per tile. The panel is then factored block by block. Products
 * read finished columns from the tiles of R and write to a separate buffer, the working panel S, because a kernel cannot
 * read the buffer that it writes. Elements below the diagonal blocks are neither read in H nor written in R.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import {
  type IndexRange,
  panelWidth,
  splitIntoPanels,
  splitRange,
  type Tile,
  type TiledMatrix,
} from "../../device/tiled_matrix.ts";
import { gemmNT } from "../../device/kernels/gemm.ts";
import { reverseCholesky } from "../../device/kernels/reverse_cholesky.ts";
import { gemm } from "./gemm.ts";
import { copySubmatrix, type Submatrix, submatrixOf, tileColumn } from "./tile_arithmetic.ts";

/** Buffers for the results of the factorisation other than R. */
export interface ReverseCholeskyOutputs {
  /** (n, blocksize) f32: the inverses U_kk = R_kk⁻¹ of the diagonal blocks of R. U_kk begins at row k·blocksize. */
  readonly u: DeviceBuffer;
  /** (n) f32: the diagonal R[j,j]. */
  readonly diagonal: DeviceBuffer;
  /** One u32, which the caller sets to 0. If a pivot is not positive, it becomes 1 + the column of that pivot. */
  readonly status: DeviceBuffer;
}

/**
 * Queues the factorisation of `h`, (n, n) f32 in upper storage. Its tile edge must be a multiple of `blocksize`. If
 * `outputs.status` is not 0 afterwards, R and the other outputs are undefined.
 * @param r receives R. It has the tiles of `h`, or is `h` itself
 * @throws {OutOfDeviceMemoryError} if the working panel cannot be allocated
 */
export function reverseCholeskyTiled(
  backend: Backend,
  h: TiledMatrix,
  r: TiledMatrix,
  outputs: ReverseCholeskyOutputs,
  blocksize: number,
): void {
  const width = panelWidth(h.rows, blocksize, h.edge, backend.maxBufferBytes);
  const buffer = backend.createBuffer("panel of the factorisation", 4 * h.rows * width);
  for (const panel of [...splitIntoPanels(h.cols, h.edge, width)].reverse()) {
    const s: WorkingPanel = { buffer, ld: width, columns: panel };
    loadPanel(backend, h, r, s);
    for (const k of [...splitRange(panel, blocksize)].reverse()) {
      factorBlock(backend, r, s, k, outputs, blocksize);
      const column = tileColumn(h, k);
      for (let i = 0; i <= column; i++) {
        finishRowsAbove(backend, r.tile(i, column), s, k, outputs.u, blocksize);
      }
      for (let i = 0; i <= column; i++) updatePanel(backend, r, i, s, k);
    }
  }
  buffer.destroy();
}

/** The working panel S, (n, ld) f32. Its row i is row i of H, and its column 0 is column `columns.start` of H. */
interface WorkingPanel {
  readonly buffer: DeviceBuffer;
  readonly ld: number;
  readonly columns: IndexRange;
}

/** Returns the submatrix of S that starts at row `row` and column `col` of H. */
function panelSubmatrix(s: WorkingPanel, row: number, col: number): Submatrix {
  return { buffer: s.buffer, offset: row * s.ld + (col - s.columns.start), ld: s.ld };
}

/**
 * Queues S = H(:, p) − Σ_q R(:, q)·R(p, q)ᵀ for the columns p of the panel. Each q is the part of one tile column that
 * lies right of the panel, so its columns are finished.
 */
function loadPanel(backend: Backend, h: TiledMatrix, r: TiledMatrix, s: WorkingPanel): void {
  const { start, end } = s.columns;
  const column = tileColumn(h, s.columns);
  for (let i = 0; i <= column; i++) {
    const tile = h.tile(i, column), last = Math.min(tile.row0 + tile.rows, end);
    const from = submatrixOf(tile, tile.row0, start), to = panelSubmatrix(s, tile.row0, start);
    copySubmatrix(backend, from, to, last - tile.row0, end - start);
  }
  for (let j = column; j < h.tileCols; j++) {
    const panelRows = r.tile(column, j);
    const q = { start: Math.max(end, panelRows.col0), end: panelRows.col0 + panelRows.cols };
    if (q.start >= q.end) continue;
    const right = submatrixOf(panelRows, start, q.start);
    const product = { n: end - start, k: q.end - q.start, alpha: -1, beta: 1 };
    for (let i = 0; i <= column; i++) {
      const tile = r.tile(i, j), at = tile.row0;
      // Of the diagonal square S(p, p), only the upper triangle is needed.
      const rows = i < column ? { m: tile.rows } : { m: end - at, upper: true, rowsAbove: start - at };
      gemm(backend, gemmNT, submatrixOf(tile, at, q.start), right, panelSubmatrix(s, at, start), {
        ...product,
        ...rows,
      });
    }
  }
}

/** Queues factoring the diagonal block, S(k, k) = R(k, k)·R(k, k)ᵀ, and inverting it, U_kk = R(k, k)⁻¹. */
function factorBlock(
  backend: Backend,
  r: TiledMatrix,
  s: WorkingPanel,
  k: IndexRange,
  outputs: ReverseCholeskyOutputs,
  blocksize: number,
): void {
  const column = tileColumn(r, k);
  const block = panelSubmatrix(s, k.start, k.start);
  const target = submatrixOf(r.tile(column, column), k.start, k.start);
  backend.dispatch(reverseCholesky, { h: block.buffer, r: target.buffer, ...outputs }, {
    size: k.end - k.start,
    offset: block.offset,
    ld: block.ld,
    r_offset: target.offset,
    ldr: target.ld,
    u_offset: k.start * blocksize,
    ldu: blocksize,
    first: k.start,
  });
}

/** Returns the rows of `tile` that lie above block k. */
function rowsAbove(tile: Tile, k: IndexRange): IndexRange {
  return { start: tile.row0, end: Math.min(tile.row0 + tile.rows, k.start) };
}

/** Queues R(i, k) = S(i, k)·U_kkᵀ for the rows i of `tile` above block k. */
function finishRowsAbove(
  backend: Backend,
  tile: Tile,
  s: WorkingPanel,
  k: IndexRange,
  u: DeviceBuffer,
  blocksize: number,
): void {
  const rows = rowsAbove(tile, k), size = k.end - k.start;
  const inverse = { buffer: u, offset: k.start * blocksize, ld: blocksize };
  gemm(
    backend,
    gemmNT,
    panelSubmatrix(s, rows.start, k.start),
    inverse,
    submatrixOf(tile, rows.start, k.start),
    { m: rows.end - rows.start, n: size, k: size },
  );
}

/**
 * Queues S(a, j) −= R(a, k)·R(j, k)ᵀ. Here a is the rows of tile row `i` above block k, and j is the panel's columns
 * left of block k.
 */
function updatePanel(backend: Backend, r: TiledMatrix, i: number, s: WorkingPanel, k: IndexRange): void {
  const column = tileColumn(r, k), tile = r.tile(i, column), left = s.columns.start;
  const rows = rowsAbove(tile, k);
  gemm(
    backend,
    gemmNT,
    submatrixOf(tile, rows.start, k.start),
    submatrixOf(r.tile(column, column), left, k.start),
    panelSubmatrix(s, rows.start, left),
    { m: rows.end - rows.start, n: k.start - left, k: k.end - k.start, alpha: -1, beta: 1 },
  );
}
