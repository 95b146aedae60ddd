/**
 * The inverse of damped statistics, (H + λ·mean(diag H)·I)⁻¹, which ExactOBS and the removal of columns need
 * explicitly. It is computed on the device in f32 from the reverse Cholesky factor, as I·(R·Rᵀ)⁻¹. The CPU could
 * compute it more accurately, but that would take n³ operations on the main thread, and a server could not respond
 * meanwhile. The accuracy would not help either, because the removals that use the inverse are computed in f32.
 * `factor` handles dead inputs and retries with more damping.
 */

import type { Backend, DeviceBuffer } from "../../../device/backend.ts";
import { createBufferOf } from "../../../device/host_memory.ts";
import { ResourceSet } from "../../../device/owned.ts";
import { TiledMatrix, tileEdgeFor } from "../../../device/tiled_matrix.ts";
import { addDamping, factor, prepareDiagonal } from "../../linalg/factor.ts";
import { copyTiled, readDiagonal, writeDiagonal } from "../../linalg/tile_arithmetic.ts";
import { solveFactored } from "../../linalg/solve_factored.ts";

const BLOCK_SIZE = 128;

export interface InverseStatistics {
  /** The inverse, (n, n) f32. The padding of its rows is 0. */
  readonly inverse: TiledMatrix;
  readonly inverseDiagonal: Float32Array; // (n) f32: the diagonal of the inverse
  readonly diagonal: Float32Array; // (n) f32: the diagonal of the damped H, with dead inputs replaced
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Undefined if no input is dead. */
  readonly dead: DeviceBuffer | undefined;
  readonly damping: number; // λ of the successful attempt
  /** Frees the device memory. Idempotent. */
  destroy(): void;
}

/**
 * Inverts damped statistics. The values of `hessian` are not modified.
 * @param hessian H, (n, n) f32 upper storage, undamped
 * @param damping λ of the first attempt
 * @param tiles the tile edge of the inverse, and the block size of the factor, which divides it. @default tiles of
 *   4096, so that the inverse is one tile if n is at most 4096
 * @throws {InvalidStatisticsError} if a diagonal entry is negative or not finite
 * @throws {NotPositiveDefiniteError} if no damping makes H positive definite
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function invertStatistics(
  backend: Backend,
  hessian: TiledMatrix,
  damping: number,
  { edge, blocksize } = { edge: tileEdgeFor(BLOCK_SIZE), blocksize: BLOCK_SIZE },
): Promise<InverseStatistics> {
  const order = hessian.cols, prepared = prepareDiagonal(await readDiagonal(backend, hessian));
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const copy = copyTiled(backend, hessian, edge);
  const factored = scratch.add(await factor(backend, copy, { damping, blocksize }));
  const shape = { label: "inverse of the statistics", rows: order, cols: order, edge };
  const inverse = unsolved.add(new TiledMatrix(backend, shape));
  for (const { buffer } of inverse.tiles()) backend.clear(buffer);
  writeDiagonal(backend, inverse, new Float32Array(order).fill(1));
  solveFactored(backend, inverse, factored);
  const dead = prepared.dead && unsolved.add(createBufferOf(backend, "dead inputs", prepared.dead));
  const inverseDiagonal = await readDiagonal(backend, inverse), owned = unsolved.move();
  return {
    inverse,
    inverseDiagonal,
    diagonal: addDamping(prepared.values, factored.dampingAdded),
    dead,
    damping: factored.damping,
    destroy: () => owned.destroy(),
  };
}
