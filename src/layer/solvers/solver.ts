/**
 * The types that every solver works with. A solver takes a layer's operands on the device and returns the pruned layer on the device. All
 * values are f32. A solver knows nothing about files, HTTP or other dtypes. In this file, H is the layer's calibration statistics Σ x·xᵀ.
 */

import type { DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import type { Pattern } from "../../tensor/pattern.ts";
import type { QuantizationOptions } from "../../tensor/quantization.ts";
import type { Submatrix } from "../linalg/submatrix.ts";

export interface Layer {
  /**
   * The weights W, (rows, cols) = (out_features, in_features) f32. The solver overwrites them with Δ = W − Q, where Q is the pruned
   * weights. The caller frees the matrix.
   */
  readonly weight: TiledMatrix;
  readonly forced?: ForcedEntries;
}

/** The set of entries that must be pruned. It comes from the `mask` tensor of a request. */
export interface ForcedEntries {
  /**
   * u32 bits, ⌈cols/32⌉ words per row, least significant bit first. A bit is 1 if the entry must be pruned. The caller frees the buffer.
   */
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
   * The mask to keep, in the layout of {@link Solution.mask}. Exactly these entries are kept, so sparsity, pattern and forced entries
   * choose nothing. Only with `quantization`. The caller frees the buffer.
   */
  readonly fixedMask?: DeviceBuffer;
  /**
   * (rows): the fraction of the range of a row's weights that its grid spans. The weights outside are rounded to the ends of the grid. Only
   * with `quantization` and whole rows per grid. Without it, all fractions are 1.
   */
  readonly gridRanges?: Float32Array<ArrayBuffer>;
}

/** The grids to which the kept weights of a layer are rounded: q = (code − zero)·scale. */
export interface QuantizationGrids {
  readonly scales: DeviceBuffer; // (rows, groups) f32: the scale of each grid
  readonly zeros: DeviceBuffer; // (rows, groups) f32: the code of the weight 0 in each grid, a whole number
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
  /**
   * tr(W·H·Wᵀ), the denominator of the relative error. Null if the options did not ask for the relative error, and for the reasons for
   * which the loss is null.
   */
  readonly weightForm: number | null;
  /** The grids of the weights, if they were rounded. Every entry of Q is then exactly a value of its grid. */
  readonly quantized?: QuantizationGrids;
  /** Frees `q`, `mask` and the grids. */
  destroy(): void;
}

/** The update A_k·U_kk, which is added to the weights of block k before the block is pruned. */
export interface BlockUpdate {
  readonly accumulated: Submatrix; // A_k = Σ_{j<k} Δ_j·R_jk, (rows, columns of the block) f32
  readonly inverse: Submatrix; // U_kk, the inverse of the diagonal block k of R, upper triangular
}
