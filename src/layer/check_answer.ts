/**
 * Checks on the device that the dtype of the answer can represent every pruned weight. The weights of the request are
 * finite, but the updates of a solve can overflow, and so can the conversion to a dtype with a smaller range.
 */

import type { Backend } from "../backend/backend.ts";
import type { Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { checkFinite, NOTHING_FOUND, OVERFLOW_BITS } from "../kernels/transfer/check.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { OverflowingAnswerError } from "./errors.ts";

/**
 * Waits until the weights are computed, and checks them.
 * @throws {OverflowingAnswerError} naming the first weight, in row-major order, that is not finite in `dtype`
 * @throws {DeviceLostError}
 */
export async function checkAnswer(backend: Backend, q: TiledMatrix, dtype: FloatDtype): Promise<void> {
  const tiles = [...q.tiles()], limit = OVERFLOW_BITS[dtype];
  const first = backend.createBuffer("overflowing weights", 4 * tiles.length);
  try {
    backend.write(first, 0, new Uint8Array(new Uint32Array(tiles.length).fill(NOTHING_FOUND).buffer));
    tiles.forEach(({ buffer: x, rows, cols, ld }, slot) => {
      backend.dispatch(checkFinite, { x, first }, { count: rows * cols, offset: 0, cols, ld, limit, slot });
    });
    const found = new Uint32Array((await backend.read(first, 0, 4 * tiles.length)).buffer);
    const defects = tiles.flatMap((tile, slot) =>
      found[slot] === NOTHING_FOUND ? [] : [locate(tile, found[slot])]
    );
    if (defects.length === 0) return;
    const { tile, row, column } = defects.reduce((a, b) =>
      b.row < a.row || (b.row === a.row && b.column < a.column) ? b : a
    );
    const at = (row - tile.row0) * tile.ld + column - tile.col0;
    const [value] = new Float32Array((await backend.read(tile.buffer, 4 * at, 4)).buffer);
    throw new OverflowingAnswerError([row, column], dtype, value);
  } finally {
    first.destroy();
  }
}

/** Turns the index of an element of a tile into its row and column in the matrix. */
function locate(tile: Tile, index: number) {
  return { tile, row: tile.row0 + Math.floor(index / tile.cols), column: tile.col0 + index % tile.cols };
}
