/**
 * The types of all solvers, and the figures of their solutions. A solver takes the operands of a layer on the device, and returns the pruned
 * layer on the device. All values are f32, and H is the calibration statistics Σ x·xᵀ. The figures are the number of zeros, the loss and the
 * relative error. They are computed on the CPU in float64, from sums and masks that the device computed.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { addQuadraticForm, mirrorDiagonalTiles, RowSums } from "../linalg/quadratic_form.ts";
import type { Submatrix } from "../linalg/tile_arithmetic.ts";
import { countBits, type Pattern, prunedPerRow } from "../../tensor/pattern.ts";
import type { QuantizationOptions } from "../../tensor/quantization.ts";

export interface Layer {
  /** W, (rows, cols) = (out_features, in_features). The solver overwrites it with Δ = W − Q. The caller frees it. */
  readonly weight: TiledMatrix;
  readonly forced?: ForcedEntries;
}

export interface ForcedEntries {
  /** u32 bits, ⌈cols/32⌉ words per row, least significant bit first, 1 if the entry must be pruned. The caller frees it. */
  readonly bits: DeviceBuffer;
  readonly perColumn: Uint32Array; // (cols) u32: the number of forced entries in each column
}

/** The options of a solve. The caller has validated them. */
export interface SolveOptions {
  /** The fraction of entries to prune, 0 ≤ s < 1. It is ignored if the pattern is n:m. */
  readonly sparsity: number;
  readonly pattern: Pattern;
  readonly relativeError: boolean;
}

/** The options of a pass that prunes only forced entries, or the entries that a fixed mask prunes. */
export const KEEP_ALL = { sparsity: 0, pattern: { kind: "unstructured" }, relativeError: false } as const;

/** The options of SparseGPT, which can also round the weights that it keeps. */
export interface SparseGptOptions extends SolveOptions {
  /** Rounds the kept weights to grids in the same pass over the columns. With sparsity 0 this is GPTQ. */
  readonly quantization?: QuantizationOptions;
  /**
   * The entries to keep, in the layout of {@link Solution.mask}, in place of sparsity, pattern and forced entries. Only with
   * `quantization`.
   */
  readonly fixedMask?: DeviceBuffer;
}

/** The grids to which the kept weights of a layer are rounded: q = (code − zero)·scale. */
export interface QuantizationGrids {
  readonly scales: DeviceBuffer; // (rows, groups) f32: the scale of each grid, which may be negative
  readonly zeros: DeviceBuffer; // (rows, groups) f32: the code of the weight 0 in each grid, a fraction if a grid with scaleBits does not contain 0
  readonly groups: number;
  readonly groupSize: number; // The number of columns that share a grid, or 0 if a whole row shares it
}

export interface Solution {
  /** The pruned weights Q, (rows, cols) f32. Pruned entries are exactly 0. */
  readonly q: TiledMatrix;
  /** u32 bits, ⌈cols/32⌉ words per row: bit c%32 of word c/32 is 1 if entry c is kept. The padding bits are 0. */
  readonly mask: DeviceBuffer;
  readonly zeros: number;
  /** (rows) f32: the part of each row in tr(Δ·H·Δᵀ), with the damped H. Only from `solveSparseGpt`. */
  readonly rowErrors?: Float32Array;
  /**
   * The error tr(Δ·H·Δᵀ), with the undamped H. Null if the solver had no statistics, or if the rounding of f32 would decide the value
   * (`trustedDifference`). NaN if the sums overflowed.
   */
  readonly loss: number | null;
  /** tr(W·H·Wᵀ), the denominator of the relative error. Null if it was not requested, and for the reasons of a null loss. */
  readonly weightForm: number | null;
  /** The grids of the weights, if they were rounded. Every entry of Q is then exactly a value of its grid. */
  readonly quantized?: QuantizationGrids;
  /** The columns that remain, ascending, if whole columns were removed. An answer has only these columns of Q. */
  readonly kept?: Uint32Array<ArrayBuffer>;
  /** Frees `q`, `mask` and the grids. */
  destroy(): void;
}

/** The update A_k·U_kk, which is added to the weights of block k before the block is pruned. */
export interface BlockUpdate {
  readonly accumulated: Submatrix; // A_k = Σ_{j<k} Δ_j·R_jk, (rows, columns of the block) f32
  readonly inverse: Submatrix; // U_kk, the inverse of the diagonal block k of R, upper triangular
}

/** A layer is larger than its method can handle. */
export class LayerSizeError extends RangeError {
  override name = "LayerSizeError";

  constructor(readonly method: string, message: string) {
    super(`${method}: ${message}`);
  }
}

/**
 * Checks that the statistics belong to the weight's columns.
 * @param statistics H or its factor R
 * @throws {RangeError} if the order of the statistics differs from the weight's columns, or their tile edges differ
 */
export function checkStatisticsFit(weight: TiledMatrix, statistics: TiledMatrix): void {
  if (weight.cols !== statistics.cols || weight.edge !== statistics.edge) {
    throw new RangeError(
      `the weight has ${weight.cols} columns in tiles of ${weight.edge}, ` +
        `but its statistics have order ${statistics.cols} in tiles of ${statistics.edge}`,
    );
  }
}

/**
 * Checks that every group of an n:m pattern lies within one block or tile of `size` columns.
 * @param what the name of the size in the error message
 * @throws {RangeError} if `size` is not a multiple of the group size
 */
export function checkGroupsFit(what: string, size: number, pattern: Pattern): void {
  if (pattern.kind === "n:m" && size % pattern.group !== 0) {
    throw new RangeError(
      `${what} ${size}: must be a multiple of ${pattern.group}, the group size of the pattern`,
    );
  }
}

/**
 * Creates a solution, which now owns the workspace's `q` and `mask`, and the grids if there are any. The caller frees the rest of the
 * workspace.
 */
export function toSolution(
  { q, mask }: Pick<Solution, "q" | "mask">,
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
  workspace: {
    readonly weight: TiledMatrix;
    readonly mask: DeviceBuffer;
    readonly forced: { readonly hasForced: number };
  },
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

/** A layer is not scaled if half the binary exponent of its squared error is at most this far from 0, as in real models. */
const COMFORTABLE = 24;
/** The largest exponent of a scale. 2^−120 and 2^120 are both normal numbers in f32. */
const LARGEST_EXPONENT = 120;
/** Below this size of the largest term, the squared error is lost in f32 if the layer cannot be scaled. */
const SMALLEST_TERM = 2 ** -80;

/**
 * Returns the exponent e of the scale: the weights times 2^−e give an error of ordinary size. The result is 0 if the
 * error has an ordinary size anyway.
 * @param weight the largest magnitude of a weight
 * @param statistic the largest diagonal entry of the statistics H
 */
export function scaleExponent(weight: number, statistic: number): number {
  if (!(weight > 0 && statistic > 0)) return 0;
  const exponent = Math.round(Math.log2(weight) + Math.log2(statistic) / 2);
  if (Math.abs(exponent) <= COMFORTABLE) return 0;
  return Math.max(-LARGEST_EXPONENT, Math.min(LARGEST_EXPONENT, exponent));
}

/** Whether the squared error is too small for f32, in the units of a solve with weights times 2^−exponent. */
export function underflows(weight: number, statistic: number, exponent: number): boolean {
  if (!(weight > 0 && statistic > 0)) return false;
  const scaled = weight * 2 ** -exponent;
  return scaled * scaled * statistic < SMALLEST_TERM;
}
