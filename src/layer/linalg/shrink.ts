import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { copyTiled, readDiagonal, scaleBy, writeDiagonal } from "./tile_arithmetic.ts";

/**
 * Returns (1 − s)·H + s·diag(H), which is H with all entries outside of the diagonal times 1 − s. This weakens the
 * correlations of the inputs and not their norms.
 * @param hessian H, (n, n) f32, upper storage. It is not changed
 * @param shrinkage s, 0 ≤ s < 1. If it is 0, the result is a plain copy
 * @returns a matrix in the form of `hessian`, which the caller frees
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function copyShrunk(
  backend: Backend,
  hessian: TiledMatrix,
  shrinkage: number,
): Promise<TiledMatrix> {
  using unfinished = new ResourceSet();
  const copy = unfinished.add(copyTiled(backend, hessian, hessian.edge));
  if (shrinkage > 0) {
    scaleBy(backend, copy, 1 - shrinkage);
    writeDiagonal(backend, copy, await readDiagonal(backend, hessian));
  }
  unfinished.move();
  return copy;
}
