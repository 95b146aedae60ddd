/**
 * Measures results of a solve by the validation statistics Hv = Σ x·xᵀ, whose inputs x are not in the calibration statistics H.
 * The validation loss of a result Q is tr((W − Q)·Hv·(W − Q)ᵀ) with the original weights W. It is a sum of one share per row. A solver fits
 * the weights to H, so an error on H says less about other inputs.
 *
 * With a validation target Tv = Σ y·xᵀ, the outputs y that the layer should have take the place of W·x. The validation loss is then f(Q) −
 * f(W) with f(M) = tr(M·Hv·Mᵀ) − 2·tr(M·Tvᵀ). With Δ = W − Q and the gradient Gv = Tv − W·Hv, it is tr(Δ·Hv·Δᵀ) + 2·tr(Δ·Gvᵀ), which is
 * negative if Q is better than W.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { prepareDiagonal } from "../linalg/factor.ts";
import { addScaled, allocateLike, copyMatrix, readDiagonal } from "../linalg/tile_arithmetic.ts";
import { InvalidStatisticsError } from "../linalg/errors.ts";
import {
  addInnerProduct,
  addQuadraticForm,
  mirrorDiagonalTiles,
  RowSums,
  total,
} from "../linalg/quadratic_form.ts";
import { checkStatisticsFit, type Solution } from "./solver.ts";

/** The weights of a result and a mask in the layout of `Solution.mask`. */
export type MeasuredWeights = Pick<Solution, "q" | "mask">;

/** The gradient of a validation target. The matrices are only read, and have the tiles of the weights. */
export interface ValidationGradient {
  /** Gv = Tv − W·Hv. */
  readonly gradient: TiledMatrix;
  /** W. By default, it is the `weight` of the `ValidationLoss`. */
  readonly original?: TiledMatrix;
}

/** The figures of the validation statistics Hv, in the units of the solve. */
export interface ValidationFigures {
  readonly loss: number;
  /** tr(W·Hv·Wᵀ), or null if it was not requested. */
  readonly weightForm: number | null;
  /** The mask of the answer. */
  readonly choice: "method" | "magnitude";
  /** The number of rows whose weights are the nearest ones on the mask. */
  readonly nearestRows: number;
  readonly largestDiagonal: number;
}

/** Measures results for one layer. */
export class ValidationLoss {
  /** The weights before the solve, also in the columns of dead inputs: W, or the weights after a step towards a target. Read only. */
  readonly weight: TiledMatrix;
  /** The largest diagonal entry of Hv. */
  readonly largestDiagonal: number;
  readonly #delta: TiledMatrix;
  readonly #gradient: TiledMatrix | undefined;
  /** W. */
  readonly #original: TiledMatrix;
  readonly #owned: ResourceSet;

  /** @throws {OutOfDeviceMemoryError} */
  private constructor(
    private readonly backend: Backend,
    weight: TiledMatrix,
    private readonly hessian: TiledMatrix,
    diagonal: Float32Array,
    target: ValidationGradient | undefined,
  ) {
    this.largestDiagonal = diagonal.reduce((a, b) => Math.max(a, b), 0);
    using allocated = new ResourceSet();
    this.weight = allocated.add(allocateLike(backend, weight, "original weights"));
    this.#delta = allocated.add(allocateLike(backend, weight, "change of the weights"));
    this.#owned = allocated.move();
    this.#gradient = target?.gradient;
    this.#original = target?.original ?? this.weight;
    copyMatrix(backend, weight, this.weight);
    mirrorDiagonalTiles(backend, hessian);
  }

  /**
   * @param weight the weights before the solve, which are copied
   * @param hessian Hv, (cols, cols) f32 upper storage, in tiles of the same size as those of the weight. The caller keeps ownership. Its
   *   values are not changed, but the undefined lower triangles of its diagonal tiles are filled in
   * @param target given if there is a validation target
   * @throws {RangeError} if weight and statistics have different tilings or orders
   * @throws {InvalidStatisticsError} if a diagonal entry of Hv is negative or not finite
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  static async open(
    backend: Backend,
    weight: TiledMatrix,
    hessian: TiledMatrix,
    target?: ValidationGradient,
  ): Promise<ValidationLoss> {
    checkStatisticsFit(weight, hessian);
    const diagonal = await readDiagonal(backend, hessian);
    try {
      prepareDiagonal(diagonal);
    } catch (error) {
      if (!(error instanceof InvalidStatisticsError)) throw error;
      throw new InvalidStatisticsError(
        error.index,
        error.value,
        `validation ${error.message}`,
        VALIDATION_TENSOR,
      );
    }
    return new ValidationLoss(backend, weight, hessian, diagonal, target);
  }

  /** Returns tr(W·Hv·Wᵀ), the denominator of the relative validation error. Waits for the device. @throws {DeviceLostError} */
  async weightForm(): Promise<number> {
    return total((await this.#rowSums(this.#original))[FORM]);
  }

  /** Returns the share of each row in the validation loss, (rows). Waits for the device. @throws {DeviceLostError} */
  async rows({ q, mask }: MeasuredWeights): Promise<Float32Array> {
    copyMatrix(this.backend, this.#original, this.#delta);
    addScaled(this.backend, q, -1, this.#delta, mask);
    const [forms, gradients] = await this.#rowSums(this.#delta);
    return forms.map((form, row) => form + 2 * gradients[row]);
  }

  /** Returns the validation loss. It is not finite if a sum overflowed f32. Waits for the device. @throws {DeviceLostError} */
  async measure(weights: MeasuredWeights): Promise<number> {
    return total(await this.rows(weights));
  }

  /** Returns M·Hv·Mᵀ and M·Gvᵀ for each row of M. The second sums are 0 without a validation target. */
  async #rowSums(m: TiledMatrix): Promise<Float32Array[]> {
    using scratch = new ResourceSet();
    const sums = scratch.add(new RowSums(this.backend, m.rows, 2));
    addQuadraticForm(this.backend, m, this.hessian, sums, FORM);
    if (this.#gradient) addInnerProduct(m, this.#gradient, sums, GRADIENT);
    return await sums.columns();
  }

  /** Frees everything except the statistics. Idempotent. */
  destroy(): void {
    this.#owned.destroy();
  }
}

/** The columns of the sums of `#rowSums`. */
const FORM = 0, GRADIENT = 1;

/** The tensor that the errors of validation statistics name. */
const VALIDATION_TENSOR = "validation_hessian";
