/** Divides the columns of a matrix into tiles, panels and blocks. README.md defines these words. */

import { DEFAULT_TILE_EDGE } from "../../device/tiled_matrix.ts";
import { MAX_BLOCK_SIZE } from "../../device/kernels/column_loop.ts";

/** The indices i with start ≤ i < end. */
export interface IndexRange {
  readonly start: number;
  readonly end: number;
}

/** Splits `whole` into consecutive ranges of `step` indices. The last range may be shorter. */
export function* splitRange(whole: IndexRange, step: number): Generator<IndexRange> {
  for (let start = whole.start; start < whole.end; start += step) {
    yield { start, end: Math.min(start + step, whole.end) };
  }
}

export function* splitIntoPanels(cols: number, edge: number, width: number): Generator<IndexRange> {
  for (const tile of splitRange({ start: 0, end: cols }, edge)) yield* splitRange(tile, width);
}

/**
 * The largest width of a panel, in columns. A product reads its left operand once per panel, so wide panels save
 * traffic. A panel of the tallest layer of OPT-175B is (49152, 512) f32, or 96 MiB, and every adapter can bind 128 MiB.
 */
const MAX_PANEL_WIDTH = 512;

/** The largest width if tiles are above the default edge, as on GPUs. Twice as many workgroups keep a GPU busy. */
const MAX_WIDE_PANEL_WIDTH = 1024;

/**
 * Returns the largest multiple of `blocksize` that is at most `edge`, so that a tile consists of whole blocks. Returns
 * `blocksize` if `edge` is smaller.
 * @throws {RangeError} if `blocksize` is not an integer from 1 to MAX_BLOCK_SIZE
 */
export function tileEdgeFor(blocksize: number, edge: number = DEFAULT_TILE_EDGE): number {
  checkBlockSize(blocksize);
  return Math.max(1, Math.floor(edge / blocksize)) * blocksize;
}

/**
 * Returns the width of a panel of `rows` rows, in columns. It is a multiple of `blocksize`, at most `edge`, and the
 * panel fits in one buffer. If not even one block fits, the width is one block, and allocating the panel throws
 * OutOfDeviceMemoryError.
 */
export function panelWidth(
  rows: number,
  blocksize: number,
  edge: number,
  maxBufferBytes: number,
): number {
  const widest = edge > DEFAULT_TILE_EDGE ? MAX_WIDE_PANEL_WIDTH : MAX_PANEL_WIDTH;
  const width = Math.min(widest, edge, Math.floor(maxBufferBytes / (4 * rows)));
  return Math.max(1, Math.floor(width / blocksize)) * blocksize;
}

/** @throws {RangeError} naming `what` if `blocksize` is not from 1 to MAX_BLOCK_SIZE, or does not divide `edge` */
export function checkBlocking(what: string, edge: number, blocksize: number): void {
  checkBlockSize(blocksize);
  if (edge % blocksize !== 0) {
    throw new RangeError(
      `${what}: the tile edge ${edge} must be a multiple of the block size ${blocksize}; tileEdgeFor() computes such an edge`,
    );
  }
}

function checkBlockSize(blocksize: number): void {
  if (!Number.isInteger(blocksize) || blocksize < 1 || blocksize > MAX_BLOCK_SIZE) {
    throw new RangeError(`block size ${blocksize}: must be an integer from 1 to ${MAX_BLOCK_SIZE}`);
  }
}
