/**
 * The statistics of a layer in scaled coordinates, in which every input has the norm 1. The damped statistics are A = H + λ·mean(diag H)·I.
 * With s = √diag(A), the scaled statistics are Â = A/(s·sᵀ), whose diagonal is 1, and the scaled weights are Ŵ = W·diag(s). The layer error
 * is the same in both coordinates, because Ŵ·Â·Ŵᵀ = W·A·Wᵀ. Plain conjugate gradients with Â take the same steps as those with A and the
 * Jacobi preconditioner. Because all inputs have the same norm, the values |Ŵ| of different columns can be compared as scores for pruning.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { addDamping, prepareDiagonal } from "../linalg/factor.ts";
import {
  allocateLike,
  copyMatrix,
  readDiagonal,
  scaleColumns,
  scaleRowsAndColumns,
  writeDiagonal,
} from "../linalg/tile_arithmetic.ts";
import { symmetricProduct } from "../linalg/gemm.ts";
import { addInnerProduct, mirrorDiagonalTiles, RowSums } from "../linalg/quadratic_form.ts";
import { trustedDifference, undampedForm } from "./solver.ts";
import { zeroDeadInputs } from "./sparsegpt.ts";

export interface ScaledStatistics {
  /** Â, (n, n) f32 upper storage. The lower triangles of its diagonal tiles are also valid. */
  readonly a: TiledMatrix;
  readonly scale: DeviceBuffer; // s, (n) f32
  readonly inverseScale: DeviceBuffer; // 1/s, (n) f32
  readonly dampingAdded: number; // λ·mean(diag H), the value that was added to every diagonal entry of H
  /** (n): the diagonal of the undamped H, with zeros at dead inputs. */
  readonly diagonal: Float32Array<ArrayBuffer>;
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Undefined if no input is dead. */
  readonly dead: DeviceBuffer | undefined;
  /** Frees the device memory. Idempotent. */
  destroy(): void;
}

/**
 * Scales `hessian`, (n, n) f32 upper storage, in place. The function takes ownership of `hessian`: it becomes part of the result, or is
 * freed if the function throws. The diagonal entry of a dead input, which was 0 in every calibration token, counts as 1.
 * @param damping λ ≥ 0
 * @throws {InvalidStatisticsError} if a diagonal entry is negative or not finite
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function scaleStatistics(
  backend: Backend,
  hessian: TiledMatrix,
  damping: number,
): Promise<ScaledStatistics> {
  using unfinished = new ResourceSet();
  unfinished.add(hessian);
  const upload = (label: string, values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) =>
    unfinished.add(createBufferOf(backend, label, values));
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
  const owned = unfinished.move();
  return { a: hessian, scale, inverseScale, dampingAdded, diagonal, dead, destroy: () => owned.destroy() };
}

export interface MeasuredLoss {
  readonly loss: number | null; // tr(Δ·H·Δᵀ) with the undamped H, or null if rounding errors would decide it
  readonly dampedLoss: number; // tr(Δ·A·Δᵀ) with the damped statistics A
  readonly validationLoss?: number; // tr((W − Q)·Hv·(W − Q)ᵀ), if the layer has validation statistics Hv
}

/**
 * Whether `a` is the smaller error. Validation losses are compared if both have one. Otherwise, if a loss is null, the damped losses are
 * compared, which the solvers minimise. The result is false if a number is NaN, which means that its sum overflowed.
 */
export function isLowerLoss(a: MeasuredLoss, b: MeasuredLoss): boolean {
  if (a.validationLoss !== undefined && b.validationLoss !== undefined) {
    return a.validationLoss < b.validationLoss;
  }
  return a.loss === null || b.loss === null ? a.dampedLoss < b.dampedLoss : a.loss < b.loss;
}

/** The columns of the sums of `queue`: ⟨Δ̂, Δ̂·Â⟩ and ‖Δ‖². */
const FORM = 0, NORM = 1;
/** The columns of the sums of `#sumWithoutDamping`: the shares of the diagonal of H and of its other entries. */
const DIAGONAL = 0, OTHERS = 1;

/** Measures changes of the weights of one layer, one after the other. */
export class ScaledLoss {
  /** Δ̂ of the change that was queued last. The caller may overwrite it. */
  readonly scaledDelta: TiledMatrix;
  /** Δ̂·Â of the change that was queued last. The caller may overwrite it. */
  readonly product: TiledMatrix;
  readonly #owned: ResourceSet;

  /**
   * @param like a matrix with the shape and tiling of the weights
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(
    private readonly backend: Backend,
    private readonly statistics: ScaledStatistics,
    like: TiledMatrix,
  ) {
    using allocated = new ResourceSet();
    this.scaledDelta = allocated.add(allocateLike(backend, like, "scaled change"));
    this.product = allocated.add(allocateLike(backend, like, "change times statistics"));
    this.#owned = allocated.move();
  }

  /**
   * Queues the sums of a change Δ, which `read` turns into its loss. The columns of dead inputs in Δ are set to 0 first, because they cause
   * no error, although Â has a diagonal entry for them.
   */
  queue(delta: TiledMatrix): RowSums {
    const { dead } = this.statistics;
    if (dead) zeroDeadInputs(this.backend, delta, dead);
    const sums = this.#owned.add(new RowSums(this.backend, delta.rows, 2));
    addInnerProduct(delta, delta, sums, NORM);
    this.#multiply(delta);
    addInnerProduct(this.scaledDelta, this.product, sums, FORM);
    return sums;
  }

  /**
   * Reads the loss of Δ from its sums. Waits for the device, and may overwrite `scaledDelta` and `product`.
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  async read(delta: TiledMatrix, sums: RowSums): Promise<MeasuredLoss> {
    const totals = await sums.totals(), dampedLoss = totals[FORM];
    const loss = undampedForm(dampedLoss, this.statistics.dampingAdded, totals[NORM]) ??
      await this.#sumWithoutDamping(delta);
    return { loss, dampedLoss };
  }

  /** Queues computing Δ̂ and Δ̂·Â. */
  #multiply(delta: TiledMatrix): void {
    copyMatrix(this.backend, delta, this.scaledDelta);
    scaleColumns(this.backend, this.scaledDelta, this.statistics.scale);
    symmetricProduct(this.backend, this.scaledDelta, this.statistics.a, this.product);
  }

  /** Computes the loss without damping. The diagonal of Â is 0 while the share of the other entries is computed. */
  async #sumWithoutDamping(delta: TiledMatrix): Promise<number | null> {
    const backend = this.backend, { a, diagonal } = this.statistics;
    using owned = new ResourceSet();
    const sums = owned.add(new RowSums(backend, delta.rows, 2));
    writeDiagonal(backend, a, new Float32Array(a.cols));
    this.#multiply(delta);
    writeDiagonal(backend, a, new Float32Array(a.cols).fill(1));
    addInnerProduct(this.scaledDelta, this.product, sums, OTHERS);
    const factors = owned.add(createBufferOf(backend, "diagonal", diagonal));
    copyMatrix(backend, delta, this.product);
    scaleColumns(backend, this.product, factors);
    addInnerProduct(delta, this.product, sums, DIAGONAL);
    const totals = await sums.totals();
    return trustedDifference(totals[DIAGONAL], -totals[OTHERS]);
  }

  destroy(): void {
    this.#owned.destroy();
  }
}
