/** Transfers the diagonal of a tiled square matrix between host and device. */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { getDiagonal, setDiagonal } from "../kernels/diagonal.ts";

/** Reads the diagonal of `matrix`, (n) f32. Waits for the device. @throws {DeviceLostError} */
export async function readDiagonal(
  backend: Backend,
  matrix: TiledMatrix,
): Promise<Float32Array<ArrayBuffer>> {
  const diagonal = backend.createBuffer("diagonal", 4 * matrix.cols);
  try {
    for (let i = 0; i < matrix.tileRows; i++) {
      const { buffer: tile, rows: count, ld, row0: first } = matrix.tile(i, i);
      backend.dispatch(getDiagonal, { tile, diagonal }, { count, row: 0, col: 0, ld, first });
    }
    return new Float32Array((await backend.read(diagonal, 0, 4 * matrix.cols)).buffer);
  } finally {
    diagonal.destroy();
  }
}

/** Queues writing `values`, (n) f32, to the diagonal of `matrix`. */
export function writeDiagonal(backend: Backend, matrix: TiledMatrix, values: Float32Array): void {
  const diagonal = backend.createBuffer("diagonal", 4 * matrix.cols);
  backend.write(diagonal, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  for (let i = 0; i < matrix.tileRows; i++) {
    const { buffer: tile, rows: count, ld, row0: first } = matrix.tile(i, i);
    backend.dispatch(setDiagonal, { diagonal, tile }, { count, ld, first });
  }
  diagonal.destroy();
}
