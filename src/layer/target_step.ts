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
 *
 * A product takes rows·cols² multiplications. G takes one, the step takes one, and with a validation target its gradient
 * Gv = Tv − W·Hv takes one. All other figures follow from inner products. With A = H + λI, X = G·A⁻¹ and D = W − Q,
 *
 *     tr(W·H·Wᵀ) = ⟨W, T⟩ − ⟨W, G⟩        tr(X·A·Xᵀ) = ⟨X, G⟩
 *     tr(D·A·Dᵀ) = E − 2α·⟨D, G⟩ − α²·⟨X, G⟩
 *
 * where E = tr((W' − Q)·A·(W' − Q)ᵀ) is the sum of errors of a pass of SparseGPT. tr(D·H·Dᵀ) is λ‖D‖² less. If another
 * method made Q, it takes a product.
 */

import type { Backend } from "../device/backend.ts";
import { createBufferOf } from "../device/host_memory.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { Report } from "../protocol/messages.ts";
import { wordsPerRow } from "../tensor/pattern.ts";
import { permuteColumns } from "./linalg/column_order.ts";
import { addScaled, allocateLike, copyMatrix, readDiagonal, scaleColumns } from "./linalg/tile_arithmetic.ts";
import type { Factor } from "./linalg/factor.ts";
import { symmetricProduct } from "./linalg/gemm.ts";
import { addInnerProduct, addQuadraticForm, mirrorDiagonalTiles, RowSums } from "./linalg/quadratic_form.ts";
import { solveFactored } from "./linalg/solve_factored.ts";
import { trustedDifference } from "./solvers/solver.ts";
import type { ValidationGradient } from "./solvers/validation_loss.ts";

/** The matrices of a layer with a target, in tiles of one size. The lower triangles of diagonal tiles are overwritten. */
export interface TargetOperands {
  /** W, (rows, cols) f32. `take` overwrites it with W'. */
  readonly weight: TiledMatrix;
  /** H, (cols, cols) f32, upper storage, undamped. */
  readonly hessian: TiledMatrix;
  /** T, (rows, cols) f32. It is overwritten with G, in which the columns of dead inputs are 0. */
  readonly target: TiledMatrix;
  /** Hv, in the form of H. */
  readonly validation?: TiledMatrix;
  /** Tv, in the form of T. It is overwritten with Gv. */
  readonly validationTarget?: TiledMatrix;
}

/** The errors of the weights Q that a solve has returned. */
export interface TargetFigures {
  /** tr((W − Q)·H·(W − Q)ᵀ). NaN if the sums overflowed. */
  readonly loss: number;
  /** tr(W·H·Wᵀ). */
  readonly weightForm: number;
  readonly change: NonNullable<Report["target_change"]>;
  /** With a validation target: tr((W − Q)·Hv·(W − Q)ᵀ) and tr(W·Hv·Wᵀ). */
  readonly validation?: { readonly loss: number; readonly weightForm: number };
}

/** The sums of each row: the inner products of W and of the results with targets and gradients, and the forms. */
export const TARGET_SUMS = [
  "wanted",
  "gradient",
  "wantedValidation",
  "gradientValidation",
  "stepSquares",
  "stepGradient",
  "stepForm",
  "resultSquares",
  "resultGradient",
  "resultValidation",
] as const;

type TargetSum = typeof TARGET_SUMS[number];

const column = (name: TargetSum) => TARGET_SUMS.indexOf(name);

/** The step of one layer. The caller calls `take` and `measure`, and frees it. */
export class TargetStep {
  readonly #owned: ResourceSet;
  readonly #original: TiledMatrix;
  /** X, the whole step. Read only. It is freed by `take`. */
  readonly change: TiledMatrix;
  readonly #sums: RowSums;
  #size = 0;

  private constructor(
    private readonly backend: Backend,
    private readonly operands: TargetOperands,
    private readonly factor: Factor,
    private readonly isShrunk: boolean,
  ) {
    using allocated = new ResourceSet();
    this.#original = allocated.add(allocateLike(backend, operands.weight, "weights before the step"));
    this.change = allocated.add(allocateLike(backend, operands.weight, "step of the weights"));
    this.#sums = allocated.add(new RowSums(backend, operands.weight.rows, TARGET_SUMS.length));
    this.#owned = allocated.move();
  }

  /**
   * Computes the gradients and the whole step.
   * @param factor the factor of the damped H, in any order of the columns
   * @param isShrunk whether the factor belongs to a shrunk H (`linalg/shrink.ts`)
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  static async open(
    backend: Backend,
    operands: TargetOperands,
    factor: Factor,
    isShrunk = false,
  ): Promise<TargetStep> {
    using unfinished = new ResourceSet();
    const step = unfinished.add(new TargetStep(backend, operands, factor, isShrunk));
    await step.#compute();
    unfinished.move();
    return step;
  }

  /** W and Gv, with which validation statistics measure results. Read only. Undefined without a validation target. */
  get validationGradient(): ValidationGradient | undefined {
    const { validationTarget } = this.operands;
    return validationTarget && { original: this.#original, gradient: validationTarget };
  }

  async #compute(): Promise<void> {
    const backend = this.backend, { weight, hessian, target, validation, validationTarget } = this.operands;
    copyMatrix(backend, weight, this.#original);
    this.#subtractOutputs(hessian, target, "wanted", "gradient");
    if (validation && validationTarget) {
      this.#subtractOutputs(validation, validationTarget, "wantedValidation", "gradientValidation");
    }
    if (this.factor.dead) await this.#clearDeadColumns();
    const { order } = this.factor, change = this.change;
    using scratch = new ResourceSet();
    const solved = order ? scratch.add(allocateLike(backend, target, "step in another order")) : change;
    if (order) permuteColumns(backend, target, order.forward, solved);
    else copyMatrix(backend, target, solved);
    solveFactored(backend, solved, this.factor);
    if (order) permuteColumns(backend, solved, order.inverse, change);
  }

  /** Queues T ← T − W·H, and the inner products of W with both. */
  #subtractOutputs(
    hessian: TiledMatrix,
    target: TiledMatrix,
    before: TargetSum,
    after: TargetSum,
  ): void {
    const backend = this.backend, weight = this.#original;
    mirrorDiagonalTiles(backend, hessian);
    addInnerProduct(weight, target, this.#sums, column(before));
    symmetricProduct(backend, weight, hessian, target, { alpha: -1, beta: 1 });
    addInnerProduct(weight, target, this.#sums, column(after));
  }

  /** Sets the columns of G to 0 whose inputs are 0 in every token, because no weight of theirs has an effect. */
  async #clearDeadColumns(): Promise<void> {
    const backend = this.backend, { hessian, target } = this.operands;
    const live = (await readDiagonal(backend, hessian)).map((value) => value === 0 ? 0 : 1);
    const factors = createBufferOf(backend, "live inputs", live);
    scaleColumns(backend, target, factors);
    factors.destroy();
  }

  /** Changes the weights. May be called once. @param size α */
  take(size: number): void {
    const backend = this.backend, change = this.change, { weight, hessian, target } = this.operands;
    addInnerProduct(change, change, this.#sums, column("stepSquares"));
    addInnerProduct(change, target, this.#sums, column("stepGradient"));
    if (this.isShrunk) addQuadraticForm(backend, change, hessian, this.#sums, column("stepForm"));
    this.#add(change, size, weight);
    change.destroy();
    this.#size = size;
  }

  /**
   * Measures the solved weights. May be called once, after `take`. Waits for the device.
   * @param q Q, which is not changed
   * @param known `passError` is E, if Q is the result of a pass. `validationChange` is fv(Q) − fv(W) for the validation
   *   target, if there is one (see `ValidationLoss`)
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  async measure(
    q: TiledMatrix,
    { passError, validationChange = NaN }: {
      readonly passError?: number;
      readonly validationChange?: number;
    } = {},
  ): Promise<TargetFigures> {
    const { target, validationTarget } = this.operands, difference = this.#original, size = this.#size;
    this.#add(q, -1, difference);
    addInnerProduct(difference, difference, this.#sums, column("resultSquares"));
    addInnerProduct(difference, target, this.#sums, column("resultGradient"));
    if (validationTarget) {
      addInnerProduct(difference, validationTarget, this.#sums, column("resultValidation"));
    }
    const totals = await this.#sums.totals(), sum = (name: TargetSum) => totals[column(name)];
    const weightForm = sum("wanted") - sum("gradient"), { dampingAdded } = this.factor;
    const stepForm = this.isShrunk
      ? sum("stepForm")
      : sum("stepGradient") - dampingAdded * sum("stepSquares");
    const added = (passError ?? NaN) - 2 * size * sum("resultGradient");
    const subtracted = size ** 2 * sum("stepGradient") + dampingAdded * sum("resultSquares");
    const loss = trustedDifference(added, subtracted) || await this.#form(difference);
    const finite = (change: number) => Number.isFinite(change) ? change : null;
    const validation = validationTarget && {
      loss: validationChange - 2 * sum("resultValidation"),
      weightForm: sum("wantedValidation") - sum("gradientValidation"),
    };
    return {
      loss: Number.isFinite(loss) ? loss : NaN,
      weightForm,
      change: {
        step: finite((size ** 2 * stepForm - 2 * size * sum("stepGradient")) / weightForm),
        // The difference is W − Q, the negative change.
        result: finite((loss + 2 * sum("resultGradient")) / weightForm),
        ...validation && { validation: finite(validationChange / validation.weightForm) },
      },
      validation,
    };
  }

  /** Computes tr(M·H·Mᵀ) by a product. Waits for the device. */
  async #form(m: TiledMatrix): Promise<number> {
    using scratch = new ResourceSet();
    const sums = scratch.add(new RowSums(this.backend, m.rows, 1));
    addQuadraticForm(this.backend, m, this.operands.hessian, sums, 0);
    return (await sums.totals())[0];
  }

  /** Queues Y ← Y + factor·X. */
  #add(x: TiledMatrix, factor: number, y: TiledMatrix): void {
    const anyMask = this.backend.createBuffer("mask of a sum", 4 * y.rows * wordsPerRow(y.cols));
    addScaled(this.backend, x, factor, y, anyMask);
    anyMask.destroy();
  }

  /** Frees the matrices of the step, but not its operands. Idempotent. */
  destroy(): void {
    this.#owned.destroy();
  }
}
