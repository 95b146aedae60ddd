/**
 * Solves X·(R·Rᵀ) = B for X, given the upper triangular factor R of a positive definite matrix. The computation is two
 * triangular solves: first Y·Rᵀ = B, from the last column to the first, and then X·R = Y, from the first column to the
 * last. Both solves work on one panel of columns at a time. Most of the work is matrix products with the finished
 * panels. The diagonal blocks of R need no division, because the factor includes their inverses U_kk. The elements of R
 * below its diagonal blocks are never read.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import {
  type IndexRange,
  panelWidth,
  splitIntoPanels,
  splitRange,
  type TiledMatrix,
} from "../../device/tiled_matrix.ts";
import { gemmNN, gemmNT } from "../../device/kernels/gemm.ts";
import type { Factor } from "./factor.ts";
import { gemm } from "./gemm.ts";
import { copySubmatrix, type Submatrix, submatrixOf, tileColumn } from "./tile_arithmetic.ts";

/** The parts of a factor that a solve needs. */
type TriangularFactor = Pick<Factor, "r" | "u" | "blocksize">;

/**
 * Queues B ← B·(R·Rᵀ)⁻¹ in place. B is (rows, n) and has the tile edge of R, a multiple of the block size.
 * @throws {OutOfDeviceMemoryError} if the panel of intermediate results cannot be allocated
 */
export function solveFactored(backend: Backend, b: TiledMatrix, factor: TriangularFactor): void {
  solvePanels(backend, b, factor, [solvePanelTransposed, solvePanel]);
}

/** Queues B ← B·R⁻¹ in place. @throws the errors of {@link solveFactored} */
export function solveUpper(backend: Backend, b: TiledMatrix, factor: TriangularFactor): void {
  solvePanels(backend, b, factor, [solvePanel]);
}

/** Queues triangular solves, one after the other. The transposed one goes from the last panel to the first. */
function solvePanels(
  backend: Backend,
  b: TiledMatrix,
  factor: TriangularFactor,
  solves: readonly (typeof solvePanel)[],
): void {
  const width = panelWidth(b.rows, factor.blocksize, b.edge, backend.maxBufferBytes);
  const buffer = backend.createBuffer("panel of a triangular solve", 4 * b.rows * width);
  const panels = [...splitIntoPanels(b.cols, b.edge, width)];
  for (const solve of solves) {
    const ordered = solve === solvePanelTransposed ? panels.toReversed() : panels;
    for (const panel of ordered) solve(backend, b, factor, { buffer, width, panel });
  }
  buffer.destroy();
}

/** The working panel S, (rows, width) f32. Its column 0 is column `panel.start` of B. */
interface WorkingPanel {
  readonly buffer: DeviceBuffer;
  readonly width: number;
  readonly panel: IndexRange;
}

/** Queues Y(:, p) = (B(:, p) − Σ_q Y(:, q)·R(p, q)ᵀ)·R(p, p)⁻ᵀ for the panel p, where q are the panels right of p. */
function solvePanelTransposed(
  backend: Backend,
  b: TiledMatrix,
  factor: TriangularFactor,
  s: WorkingPanel,
): void {
  const { panel } = s, size = panel.end - panel.start, own = tileColumn(b, panel);
  loadPanel(backend, b, s);
  for (let j = own; j < b.tileCols; j++) {
    const right = factor.r.tile(own, j);
    const q = { start: Math.max(panel.end, right.col0), end: right.col0 + right.cols };
    const r = submatrixOf(right, panel.start, q.start);
    subtract(backend, gemmNT, b, q, r, at(s, panel.start), size);
  }
  for (const k of [...splitRange(panel, factor.blocksize)].reverse()) {
    finishBlock(backend, gemmNT, b, factor, s, k);
    // S(:, left) −= Y(:, k)·R(left, k)ᵀ for the columns of the panel left of block k.
    const r = submatrixOf(factor.r.tile(own, own), panel.start, k.start);
    subtract(backend, gemmNT, b, k, r, at(s, panel.start), k.start - panel.start);
  }
}

/** Queues X(:, p) = (Y(:, p) − Σ_q X(:, q)·R(q, p))·R(p, p)⁻¹ for the panel p, where q are the panels left of p. */
function solvePanel(backend: Backend, b: TiledMatrix, factor: TriangularFactor, s: WorkingPanel): void {
  const { panel } = s, size = panel.end - panel.start, own = tileColumn(b, panel);
  loadPanel(backend, b, s);
  for (let j = 0; j <= own; j++) {
    const above = factor.r.tile(j, own);
    const q = { start: above.row0, end: Math.min(above.row0 + above.rows, panel.start) };
    const r = submatrixOf(above, q.start, panel.start);
    subtract(backend, gemmNN, b, q, r, at(s, panel.start), size);
  }
  for (const k of splitRange(panel, factor.blocksize)) {
    finishBlock(backend, gemmNN, b, factor, s, k);
    // S(:, right) −= X(:, k)·R(k, right) for the columns of the panel right of block k.
    const r = submatrixOf(factor.r.tile(own, own), k.start, k.end);
    subtract(backend, gemmNN, b, k, r, at(s, k.end), panel.end - k.end);
  }
}

/** Returns the submatrix of S that starts at the column `col` of B, with all rows. */
function at({ buffer, width, panel }: WorkingPanel, col: number): Submatrix {
  return { buffer, offset: col - panel.start, ld: width };
}

/** Queues S = B(:, p). */
function loadPanel(backend: Backend, b: TiledMatrix, s: WorkingPanel): void {
  const { panel } = s, j = tileColumn(b, panel);
  for (let i = 0; i < b.tileRows; i++) {
    const tile = b.tile(i, j), target = fromRow(at(s, panel.start), tile.row0);
    copySubmatrix(
      backend,
      submatrixOf(tile, tile.row0, panel.start),
      target,
      tile.rows,
      panel.end - panel.start,
    );
  }
}

/**
 * Queues `target` −= B(:, q)·op(r), where op(r) is r for the kernel gemmNN and rᵀ for gemmNT. `target` has `columns`
 * columns. The columns q lie in one tile column.
 */
function subtract(
  backend: Backend,
  kernel: typeof gemmNN,
  b: TiledMatrix,
  q: IndexRange,
  r: Submatrix,
  target: Submatrix,
  columns: number,
): void {
  if (q.start >= q.end || columns === 0) return;
  for (let i = 0; i < b.tileRows; i++) {
    const tile = b.tile(i, tileColumn(b, q)), sizes = { m: tile.rows, n: columns, k: q.end - q.start };
    const left = submatrixOf(tile, tile.row0, q.start);
    gemm(backend, kernel, left, r, fromRow(target, tile.row0), { ...sizes, alpha: -1, beta: 1 });
  }
}

/** Queues B(:, k) = S(:, k)·op(U_kk), which finishes block k, with op as in `subtract`. */
function finishBlock(
  backend: Backend,
  kernel: typeof gemmNN,
  b: TiledMatrix,
  { u, blocksize }: TriangularFactor,
  s: WorkingPanel,
  k: IndexRange,
): void {
  const size = k.end - k.start, inverse = { buffer: u, offset: k.start * blocksize, ld: blocksize };
  for (let i = 0; i < b.tileRows; i++) {
    const tile = b.tile(i, tileColumn(b, k)), sizes = { m: tile.rows, n: size, k: size };
    const source = fromRow(at(s, k.start), tile.row0);
    gemm(backend, kernel, source, inverse, submatrixOf(tile, tile.row0, k.start), sizes);
  }
}

/** Returns the part of a submatrix that starts at the given row. */
function fromRow({ buffer, offset, ld }: Submatrix, row: number): Submatrix {
  return { buffer, offset: offset + row * ld, ld };
}
