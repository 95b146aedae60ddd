/**
 * The loss and the relative error of a solver that uses the undamped statistics H themselves: tr(Δ·H·Δᵀ), and the same
 * divided by tr(W·H·Wᵀ).
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { addQuadraticForm, mirrorDiagonalTiles, RowSums } from "../linalg/quadratic_form.ts";
import { relativeError, undampedForm } from "./solution.ts";
import type { Solution } from "./solver.ts";

/** The columns of the sums: tr(W·H·Wᵀ) and tr(Δ·H·Δᵀ). */
const WEIGHT_FORM = 0, ERROR_FORM = 1;

/** Measures one layer. `measureWeight` is called before the weight becomes Δ, and `measureError` afterwards. */
export class FormSums {
  readonly #backend: Backend;
  readonly #weight: TiledMatrix;
  readonly #hessian: TiledMatrix;
  readonly #sums: RowSums;
  #hasWeightForm = false;

  /**
   * @param hessian H, (cols, cols) f32 upper storage, undamped, with the tile edge of the weight. The lower triangles of
   *   its diagonal tiles are filled in.
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(backend: Backend, weight: TiledMatrix, hessian: TiledMatrix) {
    this.#backend = backend;
    this.#weight = weight;
    this.#hessian = hessian;
    this.#sums = new RowSums(backend, weight.rows, 2);
    mirrorDiagonalTiles(backend, hessian);
  }

  /** Queues measuring the weight, which the relative error needs. */
  measureWeight(): void {
    addQuadraticForm(this.#backend, this.#weight, this.#hessian, this.#sums, WEIGHT_FORM);
    this.#hasWeightForm = true;
  }

  /** Queues measuring Δ, and returns the figures of the solution. Waits for the device. @throws {DeviceLostError} */
  async measureError(): Promise<Pick<Solution, "loss" | "relativeError">> {
    addQuadraticForm(this.#backend, this.#weight, this.#hessian, this.#sums, ERROR_FORM);
    const totals = await this.#sums.totals();
    const loss = undampedForm(totals[ERROR_FORM], 0, 0);
    const total = undampedForm(totals[WEIGHT_FORM], 0, 0);
    return { loss, relativeError: this.#hasWeightForm ? relativeError(loss, total) : null };
  }

  destroy(): void {
    this.#sums.destroy();
  }
}
