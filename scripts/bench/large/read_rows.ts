/** Single rows of a tiled matrix on the host, for checks that cannot hold the whole of it. */

import type { Backend } from "../../../src/backend/backend.ts";
import type { Tile, TiledMatrix } from "../../../src/backend/tiled_matrix.ts";

/** Row `row`, (cols) f32; what upper storage does not hold reads as 0. */
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

/** A tile with its elements, (rows, ld) f32. */
export type TileValues = readonly [tile: Tile, values: Float32Array];

/** The stored tiles, row by row, one on the host at a time. */
export async function* readTiles(backend: Backend, matrix: TiledMatrix): AsyncGenerator<TileValues> {
  for (const tile of matrix.tiles()) {
    const bytes = await backend.read(tile.buffer, 0, 4 * tile.rows * tile.ld);
    yield [tile, new Float32Array(bytes.buffer)];
  }
}

/** `count` of the indices below `size`, spread evenly, the first and the last among them. */
export function spread(size: number, count: number): number[] {
  const last = Math.min(count, size) - 1;
  return Array.from({ length: last + 1 }, (_, i) => last === 0 ? 0 : Math.round((i * (size - 1)) / last));
}
