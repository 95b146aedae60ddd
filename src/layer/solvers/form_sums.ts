/**
 * Computes the loss tr(Δ·H·Δᵀ) and the denominator tr(W·H·Wᵀ) of the relative error for solvers that have the
 * undamped statistics H. W is the original weights, and Δ is their change.
 */

import type { Backend } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { addQuadraticForm, mirrorDiagonalTiles, RowSums } from "../linalg/quadratic_form.ts";
import { undampedForm } from "./solution.ts";
import type { Solution } from "./solver.ts";

/** The columns of `#sums`: the contributions of each row to tr(W·H·Wᵀ) and to tr(Δ·H·Δᵀ). */
const WEIGHT_FORM = 0, ERROR_FORM = 1;

/**
 * Measures one layer. Call `measureWeight` before the solver overwrites the weight with Δ, and `measureError`
 * afterwards.
 */
export class FormSums {
  readonly #backend: Backend;
  readonly #weight: TiledMatrix;
  readonly #hessian: TiledMatrix;
  readonly #sums: RowSums;
  #hasWeightForm = false;

  /**
   * @param hessian H, (cols, cols) f32 upper storage, undamped, in tiles of the same size as those of the weight. The
   *   constructor fills in the lower triangles of its diagonal tiles.
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(backend: Backend, weight: TiledMatrix, hessian: TiledMatrix) {
    this.#backend = backend;
    this.#weight = weight;
    this.#hessian = hessian;
    this.#sums = new RowSums(backend, weight.rows, 2);
    mirrorDiagonalTiles(backend, hessian);
  }

  /** Queues computing tr(W·H·Wᵀ), which only the relative error needs. */
  measureWeight(): void {
    addQuadraticForm(this.#backend, this.#weight, this.#hessian, this.#sums, WEIGHT_FORM);
    this.#hasWeightForm = true;
  }

  /**
   * Computes tr(Δ·H·Δᵀ), and returns both forms. Waits for the device.
   * @throws {DeviceLostError}
   */
  async measureError(): Promise<Pick<Solution, "loss" | "weightForm">> {
    addQuadraticForm(this.#backend, this.#weight, this.#hessian, this.#sums, ERROR_FORM);
    const totals = await this.#sums.totals();
    return {
      loss: undampedForm(totals[ERROR_FORM], 0, 0),
      weightForm: this.#hasWeightForm ? undampedForm(totals[WEIGHT_FORM], 0, 0) : null,
    };
  }

  destroy(): void {
    this.#sums.destroy();
  }
}
