/**
 * Divides the columns of a matrix into ranges, and chooses the widths of the ranges. There are three kinds of range:
 * - The columns of a tile. A tile is a square part of the matrix in its own device buffer (`device/tiled_matrix.ts`), and the
 *   tile edge is its number of rows and columns.
 * - A panel, which is the range of columns that one matrix product computes at a time.
 * - A block, which is the range of columns that one kernel factors or prunes at a time. The SparseGPT paper calls the block
 *   size B.
 *
 * A block always lies within one panel, and a panel within one tile.
 */

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

/** Splits `cols` columns into panels of at most `width` columns. No panel extends over two tiles of `edge` columns. */
export function* splitIntoPanels(cols: number, edge: number, width: number): Generator<IndexRange> {
  for (const tile of splitRange({ start: 0, end: cols }, edge)) yield* splitRange(tile, width);
}

/**
 * The largest width of a panel, in columns. A product reads its left operand once per panel, so wide panels save memory
 * traffic. At this width, a panel of the tallest layer of OPT-175B is (49152, 512) f32, or 96 MiB. It still fits in one
 * binding, because every adapter allows bindings of at least 128 MiB.
 */
const MAX_PANEL_WIDTH = 512;

/**
 * The largest width of a panel of a matrix with larger tiles than the default. Only GPUs with large bindings have such tiles.
 * Their products then have twice as many workgroups.
 */
const MAX_WIDE_PANEL_WIDTH = 1024;

/**
 * Returns a tile edge with which every tile consists of whole blocks. It is the largest multiple of `blocksize` that is at most
 * `edge`, or `blocksize` itself if `edge` is smaller.
 * @throws {RangeError} if `blocksize` is not an integer from 1 to MAX_BLOCK_SIZE
 */
export function tileEdgeFor(blocksize: number, edge: number = DEFAULT_TILE_EDGE): number {
  checkBlockSize(blocksize);
  return Math.max(1, Math.floor(edge / blocksize)) * blocksize;
}

/**
 * Returns the width of a panel of `rows` rows, in columns. It is a multiple of `blocksize`, at most the tile's `edge`, and
 * small enough for the panel to fit in one buffer of `maxBufferBytes`. If not even one block fits, the width is one block, and
 * the allocation of the panel's buffer then throws OutOfDeviceMemoryError.
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

/**
 * Checks that tiles with the given edge consist of whole blocks. `what` names the matrix in the error message.
 * @throws {RangeError} if `edge` is not a multiple of `blocksize`, or `blocksize` is not an integer from 1 to MAX_BLOCK_SIZE
 */
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
