/**
 * Reads parts of a tiled matrix from the device, for checks of matrices that are too large to be read as a
 * whole. A tiled matrix is stored as rectangular pieces, the tiles.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import type { Tile, TiledMatrix } from "../../../src/backend/tiled_matrix.ts";

/**
 * Reads one row, (cols) f32. A matrix in upper storage has no tiles below the diagonal. Their elements are
 * read as 0.
 */
export async function readRow(backend: Backend, matrix: TiledMatrix, row: number): Promise<Float32Array> {
  const values = new Float32Array(matrix.cols);
  const i = Math.floor(row / matrix.edge);
  for (let j = matrix.storage === "upper" ? i : 0; j < matrix.tileCols; j++) {
    const { buffer, row0, col0, ld, cols } = matrix.tile(i, j);
    const bytes = await backend.read(buffer, 4 * (row - row0) * ld, 4 * cols);
    values.set(new Float32Array(bytes.buffer), col0);
  }
  return values;
}

/** A tile and its elements, (rows, ld) f32, where ld is the length of a stored row. */
export type TileValues = readonly [tile: Tile, values: Float32Array];

/** Reads the stored tiles one by one, from the first row of tiles to the last. */
export async function* readTiles(backend: Backend, matrix: TiledMatrix): AsyncGenerator<TileValues> {
  for (const tile of matrix.tiles()) {
    const bytes = await backend.read(tile.buffer, 0, 4 * tile.rows * tile.ld);
    yield [tile, new Float32Array(bytes.buffer)];
  }
}

/**
 * Returns `count` evenly spaced indices below `size`, including the first and the last. If `size` is smaller
 * than `count`, all indices are returned.
 */
export function evenlySpaced(size: number, count: number): number[] {
  const last = Math.min(count, size) - 1;
  return Array.from({ length: last + 1 }, (_, i) => last === 0 ? 0 : Math.round((i * (size - 1)) / last));
}
