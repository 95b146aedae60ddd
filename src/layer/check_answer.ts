/**
 * Checks on the device that every element of a matrix is finite. The weights of a request are finite, but the updates of a solve can
 * overflow, and so can the conversion to a dtype with a smaller range. Statistics that were added up on the device can overflow too.
 */

import type { Backend } from "../device/backend.ts";
import { createBufferOf } from "../device/host_memory.ts";
import { ResourceSet } from "../device/owned.ts";
import type { Tile, TiledMatrix } from "../device/tiled_matrix.ts";
import { checkFinite, NOTHING_FOUND, OVERFLOW_BITS } from "../device/kernels/transfer/check.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { nonFinite, overflowingAnswer } from "./errors.ts";

/**
 * Waits until the weights are computed, and checks them.
 * @throws {Refusal} `non_finite`, naming the first weight, in row-major order, that is not finite in `dtype`
 * @throws {DeviceLostError}
 */
export async function checkAnswer(backend: Backend, q: TiledMatrix, dtype: FloatDtype): Promise<void> {
  const defect = await findOverflow(backend, q, dtype);
  if (!defect) return;
  const { tile, row, column } = defect, at = (row - tile.row0) * tile.ld + column - tile.col0;
  const [value] = new Float32Array((await backend.read(tile.buffer, 4 * at, 4)).buffer);
  throw overflowingAnswer([row, column], dtype, value);
}

/**
 * Waits until the statistics are computed, and checks them.
 * @param hessian in upper storage, symmetric, so that an element below the diagonal is finite if its mirror image is
 * @param name the name of the tensor in the error message
 * @throws {Refusal} `non_finite`, naming the first element in the packed upper triangle that is not finite
 * @throws {DeviceLostError}
 */
export async function checkStatistics(
  backend: Backend,
  hessian: TiledMatrix,
  name = "hessian_upper",
): Promise<void> {
  const defect = await findOverflow(backend, hessian, "F32");
  if (!defect) return;
  const { row, column } = defect;
  throw nonFinite(name, [row * hessian.cols - (row * (row + 1)) / 2 + column]);
}

async function findOverflow(
  backend: Backend,
  matrix: TiledMatrix,
  dtype: FloatDtype,
): Promise<ReturnType<typeof locate> | undefined> {
  const tiles = [...matrix.tiles()], limit = OVERFLOW_BITS[dtype];
  using scratch = new ResourceSet();
  const nothing = new Uint32Array(tiles.length).fill(NOTHING_FOUND);
  const first = scratch.add(createBufferOf(backend, "overflowing weights", nothing));
  tiles.forEach(({ buffer: x, rows, cols, ld }, slot) => {
    backend.dispatch(checkFinite, { x, first }, { count: rows * cols, offset: 0, cols, ld, limit, slot });
  });
  const found = new Uint32Array((await backend.read(first, 0, 4 * tiles.length)).buffer);
  const defects = tiles.flatMap((tile, slot) =>
    found[slot] === NOTHING_FOUND ? [] : [locate(tile, found[slot])]
  );
  return defects.toSorted((a, b) => a.row - b.row || a.column - b.column)[0];
}

function locate(tile: Tile, index: number) {
  return { tile, row: tile.row0 + Math.floor(index / tile.cols), column: tile.col0 + index % tile.cols };
}
