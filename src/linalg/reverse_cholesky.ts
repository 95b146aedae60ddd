/**
 * H = R·Rᵀ with R upper triangular, in place on tiles: a Cholesky factorisation from the last column to the first, n³/3
 * flops. Left-looking: a panel of columns gathers all finished columns to its right in one long product, then is
 * factored block by block. Finished parts are read from the tiles and written parts live in one working panel, S, so no product reads
 * the buffer it writes. Nothing strictly below the diagonal blocks is read or written.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { copyTransposed } from "../kernels/copy2d.ts";
import { gemmNN, gemmNT } from "../kernels/gemm.ts";
import { reverseCholesky } from "../kernels/reverse_cholesky.ts";
import { panelWidth } from "./blocking.ts";
import { copyBlock } from "./copy_block.ts";
import { type Block, blockOf, gemm } from "./gemm.ts";
import { panels, type Range, ranges } from "./ranges.ts";

/** What the factorisation produces beside R. */
export interface ReverseCholeskyOutputs {
  /** (n, blocksize) f32: U_kk = R_kk⁻¹ of block k from row k·blocksize on. */
  readonly u: DeviceBuffer;
  /** (n) f32: R[j,j]. */
  readonly diagonal: DeviceBuffer;
  /** One u32, 0 at first: 1 + the column of the first pivot that is not positive. */
  readonly status: DeviceBuffer;
}

/** Queues the factorisation of `h`, (n, n) upper storage, whose tile edge is a multiple of `blocksize`. R takes its place. */
export function reverseCholeskyTiled(
  backend: Backend,
  h: TiledMatrix,
  outputs: ReverseCholeskyOutputs,
  blocksize: number,
): void {
  const width = panelWidth(h.rows, blocksize, h.edge, backend.maxBufferBytes);
  const buffer = backend.createBuffer("panel of the factorisation", 4 * h.rows * width);
  const transposed = backend.adapter.software
    ? backend.createBuffer("transposed rows of a panel", 4 * Math.min(h.edge, h.cols) * width)
    : undefined;
  for (const panel of [...panels(h.cols, h.edge, width)].reverse()) {
    const s: WorkingPanel = { buffer, ld: width, columns: panel, transposed };
    gatherPanel(backend, h, s);
    for (const k of [...ranges(panel, blocksize)].reverse()) {
      factorBlock(backend, h, s, k, outputs, blocksize);
      const column = tileColumn(h, k);
      for (let i = 0; i <= column; i++) solveAbove(backend, h.tile(i, column), s, k, outputs.u, blocksize);
      for (let i = 0; i <= column; i++) updatePanel(backend, h, i, s, k);
    }
  }
  buffer.destroy();
  transposed?.destroy();
}

/** S, (n, ld) f32: row i is row i of H, column 0 is column `columns.start`. */
interface WorkingPanel {
  readonly buffer: DeviceBuffer;
  readonly ld: number;
  readonly columns: Range;
  /**
   * (edge, ld) f32 on adapters emulated on the CPU, where a product reads a transposed right operand at half the rate: each lane
   * loads from a row of its own, and rows a power of two apart share cache sets.
   */
  readonly transposed: DeviceBuffer | undefined;
}

function panelBlock(s: WorkingPanel, row: number, col: number): Block {
  return { buffer: s.buffer, offset: row * s.ld + (col - s.columns.start), ld: s.ld };
}

function tileColumn(h: TiledMatrix, columns: Range): number {
  return Math.floor(columns.start / h.edge);
}

/** S = H(:, p) − Σ R(:, q)·R(p, q)ᵀ over the finished columns q right of the panel p. */
function gatherPanel(backend: Backend, h: TiledMatrix, s: WorkingPanel): void {
  const { start, end } = s.columns;
  const column = tileColumn(h, s.columns);
  for (let i = 0; i <= column; i++) {
    const tile = h.tile(i, column), last = Math.min(tile.row0 + tile.rows, end);
    const from = blockOf(tile, tile.row0, start), to = panelBlock(s, tile.row0, start);
    copyBlock(backend, from, to, last - tile.row0, end - start);
  }
  for (let j = column; j < h.tileCols; j++) {
    const ours = h.tile(column, j);
    const q = { start: Math.max(end, ours.col0), end: ours.col0 + ours.cols };
    if (q.start >= q.end) continue;
    const { kernel, block } = rightOperand(backend, ours, s, q);
    const product = { n: end - start, k: q.end - q.start, alpha: -1, beta: 1 };
    for (let i = 0; i <= column; i++) {
      const tile = h.tile(i, j), at = tile.row0, last = tile.row0 + tile.rows;
      // Rows above the panel's own, then those: of S(p, p) only the upper triangle is needed.
      const m = Math.min(last, start) - at;
      gemm(backend, kernel, blockOf(tile, at, q.start), block, panelBlock(s, at, start), { ...product, m });
      if (i < column) continue;
      const own = blockOf(tile, start, q.start), square = { ...product, m: end - start, upper: true };
      gemm(backend, kernel, own, block, panelBlock(s, start, start), square);
    }
  }
}

/**
 * R(p, q)ᵀ as the right operand of a product: where it lies, or transposed into `s.transposed` once for the products of all
 * tile rows.
 */
function rightOperand(
  backend: Backend,
  tile: Tile,
  { columns: { start, end }, transposed }: WorkingPanel,
  q: Range,
): { kernel: typeof gemmNN; block: Block } {
  const block = blockOf(tile, start, q.start);
  if (!transposed) return { kernel: gemmNT, block };
  const rows = end - start, cols = q.end - q.start;
  backend.dispatch(copyTransposed, { source: block.buffer, target: transposed }, {
    rows,
    cols,
    source_offset: block.offset,
    source_ld: block.ld,
    target_offset: 0,
    target_ld: rows,
  });
  return { kernel: gemmNN, block: { buffer: transposed, offset: 0, ld: rows } };
}

/** S(k, k) = R(k, k)·R(k, k)ᵀ and U_kk = R(k, k)⁻¹. */
function factorBlock(
  backend: Backend,
  h: TiledMatrix,
  s: WorkingPanel,
  k: Range,
  outputs: ReverseCholeskyOutputs,
  blocksize: number,
): void {
  const size = k.end - k.start, block = panelBlock(s, k.start, k.start);
  backend.dispatch(reverseCholesky, { h: s.buffer, ...outputs }, {
    size,
    offset: block.offset,
    ld: block.ld,
    u_offset: k.start * blocksize,
    ldu: blocksize,
    first: k.start,
  });
  const column = tileColumn(h, k);
  copyBlock(backend, block, blockOf(h.tile(column, column), k.start, k.start), size, size);
}

/** The rows of `tile` above block k. */
function rowsAbove(tile: Tile, k: Range): Range {
  return { start: tile.row0, end: Math.min(tile.row0 + tile.rows, k.start) };
}

/** R(i, k) = S(i, k)·U_kkᵀ for the rows i of `tile` above block k. */
function solveAbove(
  backend: Backend,
  tile: Tile,
  s: WorkingPanel,
  k: Range,
  u: DeviceBuffer,
  blocksize: number,
): void {
  const rows = rowsAbove(tile, k), size = k.end - k.start;
  const inverse = { buffer: u, offset: k.start * blocksize, ld: blocksize };
  gemm(
    backend,
    gemmNT,
    panelBlock(s, rows.start, k.start),
    inverse,
    blockOf(tile, rows.start, k.start),
    { m: rows.end - rows.start, n: size, k: size },
  );
}

/** S(i, j) −= R(i, k)·R(j, k)ᵀ for the rows i of tile row `i` above block k and the panel's columns j left of it. */
function updatePanel(backend: Backend, h: TiledMatrix, i: number, s: WorkingPanel, k: Range): void {
  const column = tileColumn(h, k), tile = h.tile(i, column), left = s.columns.start;
  const rows = rowsAbove(tile, k);
  gemm(
    backend,
    gemmNT,
    blockOf(tile, rows.start, k.start),
    blockOf(h.tile(column, column), left, k.start),
    panelBlock(s, rows.start, left),
    { m: rows.end - rows.start, n: k.start - left, k: k.end - k.start, alpha: -1, beta: 1 },
  );
}
