/**
 * The statistics of a layer in scaled coordinates, in which every input has the norm 1. The damped statistics
 * are A = H + λ·mean(diag H)·I. With s = √diag(A), the scaled statistics are Â = A/(s·sᵀ), whose diagonal is
 * 1, and the scaled weights are Ŵ = W·diag(s). The layer error is the same in both coordinates, because
 * Ŵ·Â·Ŵᵀ = W·A·Wᵀ. Plain conjugate gradients with Â take the same steps as those with A and the Jacobi
 * preconditioner. Because all inputs have the same norm, the values |Ŵ| of different columns can be compared
 * as scores for pruning.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { ResourceSet } from "../../device/owned.ts";
import { addDamping, prepareDiagonal, readDiagonal, writeDiagonal } from "../linalg/diagonal.ts";
import { mirrorDiagonalTiles } from "../linalg/quadratic_form.ts";
import { scaleRowsAndColumns } from "../linalg/tile_arithmetic.ts";

/** Scaled statistics of order n. */
export interface ScaledStatistics {
  /** Â, (n, n) f32 upper storage. The lower triangles of its diagonal tiles are also valid. */
  readonly a: TiledMatrix;
  /** s, (n) f32. */
  readonly scale: DeviceBuffer;
  /** 1/s, (n) f32. */
  readonly inverseScale: DeviceBuffer;
  /** λ·mean(diag H), the value that was added to every diagonal entry of H. */
  readonly dampingAdded: number;
  /** (n): the diagonal of the undamped H, with zeros at dead inputs. */
  readonly diagonal: Float32Array<ArrayBuffer>;
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Undefined if no input is dead. */
  readonly dead: DeviceBuffer | undefined;
  /** Frees the device memory. Idempotent. */
  destroy(): void;
}

/**
 * Scales `hessian`, (n, n) f32 upper storage, in place. The function takes ownership of `hessian`: it becomes
 * part of the result, or is freed if the function throws. The diagonal entry of a dead input, which was
 * 0 in every calibration token, counts as 1.
 * @param damping λ ≥ 0
 * @throws {InvalidStatisticsError} if a diagonal entry is negative or not finite
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function scaleStatistics(
  backend: Backend,
  hessian: TiledMatrix,
  damping: number,
): Promise<ScaledStatistics> {
  const owned = new ResourceSet();
  owned.add(hessian);
  const upload = (label: string, values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
    const buffer = owned.add(backend.createBuffer(label, values.byteLength));
    backend.write(buffer, 0, new Uint8Array(values.buffer));
    return buffer;
  };
  try {
    const diagonal = await readDiagonal(backend, hessian), prepared = prepareDiagonal(diagonal);
    const dampingAdded = damping * prepared.mean, damped = addDamping(prepared.values, dampingAdded);
    const scale = upload("scale of the inputs", Float32Array.from(damped, Math.sqrt));
    const inverseScale = upload(
      "inverse scale",
      Float32Array.from(damped, (value) => 1 / Math.sqrt(value)),
    );
    const dead = prepared.dead && upload("dead inputs", prepared.dead);
    mirrorDiagonalTiles(backend, hessian);
    scaleRowsAndColumns(backend, hessian, inverseScale);
    writeDiagonal(backend, hessian, new Float32Array(hessian.cols).fill(1));
    return { a: hessian, scale, inverseScale, dampingAdded, diagonal, dead, destroy: () => owned.destroy() };
  } catch (error) {
    owned.destroy();
    throw error;
  }
}
