/**
 * Moves the weights of a layer towards a target before the layer is solved, and measures how near the solved weights
 * are to the target.
 *
 * The target is T = Σ y·xᵀ, the cross moment of the outputs y that the layer should have and of its inputs x. Weights M
 * that give these outputs have a small f(M) = tr(M·H·Mᵀ) − 2·tr(M·Tᵀ), which is the squared error Σ ‖M·x − y‖² without
 * its constant part. With the gradient G = T − W·H, the step is
 *
 *     W' = W + α·G·(H + λI)⁻¹
 *
 * For every change D of the weights, f(W + D) − f(W) = tr(D·H·Dᵀ) − 2·tr(D·Gᵀ). The measures use this form, because its
 * terms are as small as the changes. Asymmetric calibration (GPTAQ, arXiv 2504.02692; QEP, arXiv 2504.09629) takes the
 * step with α = 1.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { Report } from "../protocol/messages.ts";
import { wordsPerRow } from "../tensor/pattern.ts";
import { permuteColumns } from "./linalg/column_order.ts";
import { readDiagonal } from "./linalg/diagonal.ts";
import type { Factor } from "./linalg/factor.ts";
import { symmetricProduct } from "./linalg/gemm.ts";
import { addInnerProduct, addQuadraticForm, mirrorDiagonalTiles, RowSums } from "./linalg/quadratic_form.ts";
import { solveFactored } from "./linalg/solve_factored.ts";
import { addScaled, allocateLike, copyMatrix, scaleColumns } from "./linalg/tile_arithmetic.ts";

/** The matrices of a layer with a target, in tiles of one size. */
export interface TargetOperands {
  /** W, (rows, cols) f32. The step overwrites it with W'. */
  readonly weight: TiledMatrix;
  /** H, (cols, cols) f32, upper storage, undamped. The lower triangles of its diagonal tiles are overwritten. */
  readonly hessian: TiledMatrix;
  /** T, (rows, cols) f32. The step overwrites it with G, in which the columns of dead inputs are 0. */
  readonly target: TiledMatrix;
}

/** The errors of the weights Q that a solve has returned. */
export interface TargetFigures {
  /** tr((W − Q)·H·(W − Q)ᵀ). NaN if the sums overflowed. */
  readonly loss: number;
  /** tr(W·H·Wᵀ). */
  readonly weightForm: number;
  readonly change: NonNullable<Report["target_change"]>;
}

/** The columns of the sums: for W, for the change W' − W, and for the change Q − W. */
const WEIGHT_FORM = 0, STEP_FORM = 1, STEP_GRADIENT = 2, RESULT_FORM = 3, RESULT_GRADIENT = 4, SUMS = 5;

/** A step that was taken. The caller frees it after `measure`. */
export class TargetStep {
  readonly #backend: Backend;
  readonly #operands: TargetOperands;
  readonly #owned = new ResourceSet();
  /** W, and after `measure` the change W − Q. Read only. */
  readonly original: TiledMatrix;
  readonly #sums: RowSums;

  private constructor(backend: Backend, operands: TargetOperands) {
    this.#backend = backend;
    this.#operands = operands;
    try {
      this.original = this.#owned.add(allocateLike(backend, operands.weight, "weights before the step"));
      this.#sums = this.#owned.add(new RowSums(backend, operands.weight.rows, SUMS));
    } catch (error) {
      this.#owned.destroy();
      throw error;
    }
  }

  /**
   * Changes the weights.
   * @param factor the factor of the damped H, in any order of the columns
   * @param size α
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  static async take(
    backend: Backend,
    operands: TargetOperands,
    factor: Factor,
    size: number,
  ): Promise<TargetStep> {
    const taken = new TargetStep(backend, operands);
    try {
      await taken.#take(factor, size);
      return taken;
    } catch (error) {
      taken.destroy();
      throw error;
    }
  }

  async #take(factor: Factor, size: number): Promise<void> {
    const backend = this.#backend, { weight, hessian, target } = this.#operands;
    copyMatrix(backend, weight, this.original);
    mirrorDiagonalTiles(backend, hessian);
    addQuadraticForm(backend, weight, hessian, this.#sums, WEIGHT_FORM);
    symmetricProduct(backend, weight, hessian, target, { alpha: -1, beta: 1 });
    if (factor.dead) await this.#clearDeadColumns();
    if (size === 0) return;
    const scratch = new ResourceSet();
    try {
      const change = scratch.add(allocateLike(backend, target, "step of the weights"));
      const solved = factor.order
        ? scratch.add(allocateLike(backend, target, "step in another order"))
        : change;
      if (factor.order) permuteColumns(backend, target, factor.order.forward, solved);
      else copyMatrix(backend, target, solved);
      solveFactored(backend, solved, factor);
      if (factor.order) permuteColumns(backend, solved, factor.order.inverse, change);
      const factors = scratch.add(backend.createBuffer("size of the step", 4 * weight.cols));
      backend.write(factors, 0, new Uint8Array(new Float32Array(weight.cols).fill(size).buffer));
      scaleColumns(backend, change, factors);
      addQuadraticForm(backend, change, hessian, this.#sums, STEP_FORM);
      addInnerProduct(change, target, this.#sums, STEP_GRADIENT);
      this.#add(change, 1, weight);
    } finally {
      scratch.destroy();
    }
  }

  /** Sets the columns of G to 0 whose inputs are 0 in every token, because no weight of theirs has an effect. */
  async #clearDeadColumns(): Promise<void> {
    const backend = this.#backend, { hessian, target } = this.#operands;
    const live = (await readDiagonal(backend, hessian)).map((value) => value === 0 ? 0 : 1);
    const factors = backend.createBuffer("live inputs", live.byteLength);
    backend.write(factors, 0, new Uint8Array(live.buffer));
    scaleColumns(backend, target, factors);
    factors.destroy();
  }

  /**
   * Measures the solved weights `q`, which are not changed. May be called once. Waits for the device.
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  async measure(q: TiledMatrix): Promise<TargetFigures> {
    const backend = this.#backend, { hessian, target } = this.#operands, difference = this.original;
    this.#add(q, -1, difference);
    addQuadraticForm(backend, difference, hessian, this.#sums, RESULT_FORM);
    addInnerProduct(difference, target, this.#sums, RESULT_GRADIENT);
    const sums = await this.#sums.totals();
    const weightForm = sums[WEIGHT_FORM], loss = sums[RESULT_FORM];
    const finite = (change: number) => Number.isFinite(change) ? change : null;
    return {
      loss: Number.isFinite(loss) ? loss : NaN,
      weightForm,
      change: {
        step: finite((sums[STEP_FORM] - 2 * sums[STEP_GRADIENT]) / weightForm),
        // The difference is W − Q, the negative change.
        result: finite((loss + 2 * sums[RESULT_GRADIENT]) / weightForm),
      },
    };
  }

  /** Queues Y ← Y + factor·X. */
  #add(x: TiledMatrix, factor: number, y: TiledMatrix): void {
    const anyMask = this.#backend.createBuffer("mask of a sum", 4 * y.rows * wordsPerRow(y.cols));
    addScaled(this.#backend, x, factor, y, anyMask);
    anyMask.destroy();
  }

  /** Frees the matrices of the step, but not its operands. Idempotent. */
  destroy(): void {
    this.#owned.destroy();
  }
}
