/**
 * Measures the loss tr(Δ·H·Δᵀ) of a change Δ of the weights, from the scaled statistics Â of the damped H
 * (`scaled_statistics.ts`). With Δ̂ = Δ·diag(s), the loss is ⟨Δ̂, Δ̂·Â⟩ − dampingAdded·‖Δ‖². The product Δ̂·Â is what a
 * refit starts with, so this difference costs little. If the damping outweighs the statistics so much that f32
 * cannot resolve the difference, the loss is computed a second time as Σ H[j,j]·Δ[i,j]² plus the share of the
 * entries of H beside its diagonal. Neither of the two sums contains the damping.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { writeDiagonal } from "../linalg/diagonal.ts";
import { addInnerProduct, RowSums } from "../linalg/quadratic_form.ts";
import { symmetricProduct } from "../linalg/gemm.ts";
import { allocateLike, copyMatrix, scaleColumns } from "../linalg/tile_arithmetic.ts";
import type { ScaledStatistics } from "./scaled_statistics.ts";
import { trustedDifference, undampedForm } from "./solution.ts";
import { zeroDeadInputs } from "./sparsegpt.ts";

/** The error of a pruned layer. */
export interface MeasuredLoss {
  /** tr(Δ·H·Δᵀ) with the undamped H, or null if rounding errors would decide it. */
  readonly loss: number | null;
  /** tr(Δ·A·Δᵀ) with the damped statistics A. */
  readonly dampedLoss: number;
}

/**
 * Whether `a` is the smaller error. If a loss is null, the damped losses are compared, which the solvers minimise. The
 * result is false if a number is NaN, which means that its sum overflowed.
 */
export function isLowerLoss(a: MeasuredLoss, b: MeasuredLoss): boolean {
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
  readonly #backend: Backend;
  readonly #statistics: ScaledStatistics;
  readonly #owned = new ResourceSet();

  /**
   * @param like a matrix with the shape and tiling of the weights
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(backend: Backend, statistics: ScaledStatistics, like: TiledMatrix) {
    this.#backend = backend;
    this.#statistics = statistics;
    try {
      this.scaledDelta = this.#owned.add(allocateLike(backend, like, "scaled change"));
      this.product = this.#owned.add(allocateLike(backend, like, "change times statistics"));
    } catch (error) {
      this.#owned.destroy();
      throw error;
    }
  }

  /**
   * Queues the sums of a change Δ, which `read` turns into its loss. The columns of dead inputs in Δ are set to 0
   * first, because they cause no error, although Â has a diagonal entry for them.
   */
  queue(delta: TiledMatrix): RowSums {
    const { dead } = this.#statistics;
    if (dead) zeroDeadInputs(this.#backend, delta, dead);
    const sums = this.#owned.add(new RowSums(this.#backend, delta.rows, 2));
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
    const loss = undampedForm(dampedLoss, this.#statistics.dampingAdded, totals[NORM]) ??
      await this.#sumWithoutDamping(delta);
    return { loss, dampedLoss };
  }

  /** Queues computing Δ̂ and Δ̂·Â. */
  #multiply(delta: TiledMatrix): void {
    copyMatrix(this.#backend, delta, this.scaledDelta);
    scaleColumns(this.#backend, this.scaledDelta, this.#statistics.scale);
    symmetricProduct(this.#backend, this.scaledDelta, this.#statistics.a, this.product);
  }

  /** Computes the loss without damping. The diagonal of Â is 0 while the share of the other entries is computed. */
  async #sumWithoutDamping(delta: TiledMatrix): Promise<number | null> {
    const backend = this.#backend, { a, diagonal } = this.#statistics, owned = new ResourceSet();
    try {
      const sums = owned.add(new RowSums(backend, delta.rows, 2));
      writeDiagonal(backend, a, new Float32Array(a.cols));
      this.#multiply(delta);
      writeDiagonal(backend, a, new Float32Array(a.cols).fill(1));
      addInnerProduct(this.scaledDelta, this.product, sums, OTHERS);
      const factors = owned.add(backend.createBuffer("diagonal", diagonal.byteLength));
      backend.write(factors, 0, new Uint8Array(diagonal.buffer));
      copyMatrix(backend, delta, this.product);
      scaleColumns(backend, this.product, factors);
      addInnerProduct(delta, this.product, sums, DIAGONAL);
      const totals = await sums.totals();
      return trustedDifference(totals[DIAGONAL], -totals[OTHERS]);
    } finally {
      owned.destroy();
    }
  }

  destroy(): void {
    this.#owned.destroy();
  }
}
