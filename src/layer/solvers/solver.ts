/**
 * The types of all solvers. A solver takes the operands of a layer on the device, and returns the pruned layer on the device. All values
 * are f32, and H is the calibration statistics Σ x·xᵀ.
 */

import type { DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { type Pattern, wordsPerRow } from "../../tensor/pattern.ts";
import { checkQuantization, type QuantizationOptions } from "../../tensor/quantization.ts";
import type { Factor } from "../linalg/factor.ts";
import type { Submatrix } from "../linalg/submatrix.ts";

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
 * Checks the options of a pass that rounds weights, if they ask for one.
 * @throws {RangeError} that names the parameter, the rule and the value
 */
export function checkRounding(
  { rows, cols }: TiledMatrix,
  { blocksize, order }: Pick<Factor, "blocksize" | "order">,
  { pattern, quantization, fixedMask }: SparseGptOptions,
): void {
  if (quantization) {
    const patternGroup = pattern.kind === "n:m" ? pattern.group : 1;
    checkQuantization(quantization, { blocksize, patternGroup });
  }
  const orderOfFactor = order ? "activation" : "natural", wanted = quantization?.order ?? orderOfFactor;
  if (orderOfFactor !== wanted) {
    throw new RangeError(
      `order ${wanted}: needs a factor in this order, but the factor's order is ${orderOfFactor}`,
    );
  }
  if (order && pattern.kind === "n:m") {
    throw new RangeError(
      "an n:m pattern: needs a factor in natural order, but the factor's order is activation",
    );
  }
  if (!fixedMask) return;
  if (!quantization) {
    throw new RangeError("a fixed mask: needs quantization, because pruning alone chooses its own mask");
  }
  const expected = 4 * rows * wordsPerRow(cols);
  if (fixedMask.byteLength !== expected) {
    throw new RangeError(
      `a fixed mask of ${fixedMask.byteLength} bytes: must have ${expected} bytes for a weight of ${rows}×${cols}`,
    );
  }
}
