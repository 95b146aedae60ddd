/**
 * The three sizes columns are cut by. A tile is one buffer; a panel is as many columns as one product handles at
 * a time; a block is what one kernel factors or prunes. A block never straddles two panels, nor a panel two tiles.
 */

import { DEFAULT_TILE_EDGE } from "../backend/tiled_matrix.ts";
import { MAX_BLOCK_SIZE } from "../kernels/prune_block.ts";

/**
 * Columns of a panel. Wide enough that a product re-reads its left operand seldom (cols/512 times), narrow
 * enough that (49152, 512) f32, the panel of the tallest layer of OPT-175B, is under a binding of 128 MiB.
 */
const PANEL_WIDTH = 512;

/**
 * The largest tile edge ≤ `edge` that blocks of `blocksize` columns divide; one block when `edge` is less.
 * @throws {RangeError} on a block size no kernel takes
 */
export function tileEdgeFor(blocksize: number, edge: number = DEFAULT_TILE_EDGE): number {
  checkBlockSize(blocksize);
  return Math.max(1, Math.floor(edge / blocksize)) * blocksize;
}

/**
 * Columns of a panel: a multiple of `blocksize`, at most a tile's `edge`, of which `rows` rows fit one buffer.
 * A single block even where that does not fit: the allocation then says so.
 */
export function panelWidth(
  rows: number,
  blocksize: number,
  edge: number,
  maxBufferBytes: number,
): number {
  const width = Math.min(PANEL_WIDTH, edge, Math.floor(maxBufferBytes / (4 * rows)));
  return Math.max(1, Math.floor(width / blocksize)) * blocksize;
}

/** @throws {RangeError} when blocks of `blocksize` columns would straddle tiles of `edge`, or no kernel takes them */
export function checkBlocking(what: string, edge: number, blocksize: number): void {
  checkBlockSize(blocksize);
  if (edge % blocksize !== 0) {
    throw new RangeError(
      `${what}: tile edge ${edge} must be a multiple of the block size ${blocksize}; tileEdgeFor gives one`,
    );
  }
}

function checkBlockSize(blocksize: number): void {
  if (!Number.isInteger(blocksize) || blocksize < 1 || blocksize > MAX_BLOCK_SIZE) {
    throw new RangeError(`block size ${blocksize}: must be an integer from 1 to ${MAX_BLOCK_SIZE}`);
  }
}
