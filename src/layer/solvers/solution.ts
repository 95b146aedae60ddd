/**
 * Creates the solution of a finished solve, and computes its figures: the number of zeros, the loss and the relative error. They are
 * computed on the CPU in float64, from sums and masks that the device computed.
 */

import type { Backend } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { countBits, prunedPerRow } from "../../tensor/pattern.ts";
import { addQuadraticForm, mirrorDiagonalTiles, RowSums } from "../linalg/quadratic_form.ts";
import type { SolveWorkspace } from "./solve_workspace.ts";
import type { QuantizationGrids, Solution, SparseGptOptions } from "./solver.ts";

/**
 * Creates a solution, which now owns the workspace's `q` and `mask`, and the grids if there are any. The caller frees the rest of the
 * workspace.
 */
export function toSolution(
  { q, mask }: SolveWorkspace,
  figures: Pick<Solution, "zeros" | "rowErrors" | "loss" | "weightForm">,
  quantized?: QuantizationGrids,
): Solution {
  return {
    q,
    mask,
    ...figures,
    quantized,
    destroy() {
      q.destroy();
      mask.destroy();
      quantized?.scales.destroy();
      quantized?.zeros.destroy();
    },
  };
}

/**
 * Returns the number of pruned entries. For an unstructured pattern the number is `prunedByBudget`. For an n:m pattern without forced
 * entries it follows from the pattern. Forced entries must be pruned in any case, so a group can lose more entries than the pattern prunes.
 * The mask is then read from the device, and its zeros are counted. A fixed mask is counted as well.
 */
export async function countPruned(
  backend: Backend,
  workspace: Pick<SolveWorkspace, "weight" | "forced" | "mask">,
  { pattern, fixedMask }: SparseGptOptions,
  prunedByBudget: number,
): Promise<number> {
  const { rows, cols } = workspace.weight;
  if (!fixedMask && pattern.kind === "unstructured") return prunedByBudget;
  if (!fixedMask && pattern.kind === "n:m" && !workspace.forced.hasForced) {
    return rows * prunedPerRow(pattern, cols);
  }
  const { mask } = workspace;
  const bytes = await backend.read(mask, 0, mask.byteLength);
  return rows * cols - countBits(new Uint32Array(bytes.buffer));
}

/**
 * The smallest difference of two sums that is trusted, as a fraction of the larger sum. The rounding errors of the sums are about 2⁻²² of
 * the larger one in f32, so such a difference has an error well below 1 %.
 */
const SMALLEST_DIFFERENCE = 2 ** -14;

/**
 * Subtracts two sums that were computed in f32.
 * @returns null if the difference is so small that rounding errors decide it, or NaN if a sum overflowed
 */
export function trustedDifference(minuend: number, subtrahend: number): number | null {
  if (!Number.isFinite(minuend) || !Number.isFinite(subtrahend)) return NaN;
  const difference = minuend - subtrahend;
  return difference >= SMALLEST_DIFFERENCE * minuend ? difference : null;
}

/**
 * Computes tr(M·H·Mᵀ) for a matrix M from the same trace with the damped H, by subtracting the share of the damping.
 * @param dampedForm tr(M·(H + dampingAdded·I)·Mᵀ)
 * @param dampingAdded the value that was added to every diagonal entry of H
 * @param squaredNorm ‖M‖²
 * @returns the trace, null if the damping outweighs the trace so much that f32 cannot tell them apart, or NaN if the sums overflowed
 */
export function undampedForm(dampedForm: number, dampingAdded: number, squaredNorm: number): number | null {
  return trustedDifference(dampedForm, dampingAdded * squaredNorm);
}

/**
 * Computes loss / tr(W·H·Wᵀ). If both are 0, the result is 0. The result is null if one of them is null, or if only the denominator is 0.
 * If a number is not finite, the result is NaN, because a finite loss divided by infinity would look like a perfect layer.
 */
export function relativeError({ loss, weightForm }: Pick<Solution, "loss" | "weightForm">): number | null {
  if (loss === null || weightForm === null) return null;
  if (!Number.isFinite(loss) || !Number.isFinite(weightForm)) return NaN;
  if (weightForm > 0) return loss / weightForm;
  return loss === 0 ? 0 : null;
}

/** The columns of `#sums`: the contributions of each row to tr(W·H·Wᵀ) and to tr(Δ·H·Δᵀ). */
const WEIGHT_FORM = 0, ERROR_FORM = 1;

/** Measures one layer. Call `measureWeight` before the solver overwrites the weight with Δ, and `measureError` afterwards. */
export class FormSums {
  readonly #sums: RowSums;
  #hasWeightForm = false;

  /**
   * @param hessian H, (cols, cols) f32 upper storage, undamped, in tiles of the same size as those of the weight. The constructor fills in
   *   the lower triangles of its diagonal tiles.
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(
    private readonly backend: Backend,
    private readonly weight: TiledMatrix,
    private readonly hessian: TiledMatrix,
  ) {
    this.#sums = new RowSums(backend, weight.rows, 2);
    mirrorDiagonalTiles(backend, hessian);
  }

  /** Queues computing tr(W·H·Wᵀ), which only the relative error needs. */
  measureWeight(): void {
    addQuadraticForm(this.backend, this.weight, this.hessian, this.#sums, WEIGHT_FORM);
    this.#hasWeightForm = true;
  }

  /** Computes tr(Δ·H·Δᵀ), and returns both forms. Waits for the device. @throws {DeviceLostError} */
  async measureError(): Promise<Pick<Solution, "loss" | "weightForm">> {
    addQuadraticForm(this.backend, this.weight, this.hessian, this.#sums, ERROR_FORM);
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
