/**
 * The grids to which weights are rounded. A grid belongs to a row of a weight matrix, or to a group of consecutive
 * columns of one row. It has 2^bits values, which are (code − zero)·scale for the codes 0 … 2^bits − 1. The zero point
 * `zero` is itself a code, so 0 is exactly a value of the grid, and pruned weights stay exact zeros. Only some grids with
 * `scaleBits`, none of whose weights is pruned, do not contain 0.
 *
 * With the ranges `minmax`, the grid of some weights w is the same as in the published GPTQ code (arXiv 2210.17323):
 *
 * - Asymmetric: low = min(min w, 0), high = max(max w, 0), scale = (high − low)/(2^bits − 1), zero = round(−low/scale).
 * - Symmetric: scale = 2·max|w|/(2^bits − 1), zero = 2^(bits − 1).
 *
 * With the ranges `search`, a search (`device/kernels/search_grids.ts`) starts from a grid, and may clip a few weights
 * so that the steps are finer for all others. Asymmetric grids start as above. A symmetric grid starts with scale =
 * −m/2^(bits − 1), where m is the weight with the largest magnitude. So m itself is a value of the grid, as in the
 * format `Q4_0` of GGUF, and the scale is negative if m is positive.
 *
 * The scale is 1 if the formula gives a magnitude below the smallest normal f32, for example if all weights are 0.
 * Every scale is rounded to `scaleDtype` before any weight is rounded to the grid.
 *
 * The code of a weight is clamp(round(w/scale) + zero, 0, 2^bits − 1), where round() rounds ties to even.
 *
 * With `scaleBits`, the scales have two levels, as in the K types of GGUF. The 256 columns of a super-block share a
 * factor d, and the scale of each group is n·d with an integer n of this many bits, which is signed in a symmetric
 * grid. A file stores the smallest value of an asymmetric grid as −m·middle·d with an integer m ≤ 2^scaleBits − 1,
 * where middle = 2^(bits − 1). So n·zero = m·middle. If a weight of the group is 0 or pruned, zero is a code, and 0 is a
 * value of the grid. Otherwise the grid is free: zero may lie between two codes, so that every n and every m is allowed,
 * and a weight w has the code clamp(round((w + offset)/scale) + ⌊zero⌋, 0, 2^bits − 1) with offset = (zero − ⌊zero⌋)·scale.
 * d is computed when the pass reaches the super-block, from the weights of its groups at this time. It is the smallest
 * number with which no integer exceeds its limit, rounded to `scaleDtype`.
 */

import type { FloatDtype } from "./dtype.ts";

export const MIN_BITS = 2, MAX_BITS = 8;

/** The columns that share the factor of scales with two levels. */
export const SUPER_BLOCK_COLUMNS = 256;

export interface GridOptions {
  readonly bits: number;
  /** The number of consecutive columns of a row that share a grid. 0 means that a whole row shares a grid. */
  readonly groupSize: number;
  /** Whether the zero point is 2^(bits − 1). With a positive scale, one value more lies below 0 than above 0. */
  readonly symmetric: boolean;
}

/** How the weights that are kept are rounded. */
export interface QuantizationOptions extends GridOptions {
  /**
   * `minmax` is the published range of a grid, from the smallest weight to the largest. `search` chooses the range with
   * the smallest weighted error. @default "minmax"
   */
  readonly ranges?: "minmax" | "search";
  /** The dtype to which every scale is rounded, or with `scaleBits` the common factor. @default "F32" */
  readonly scaleDtype?: FloatDtype;
  /** The bits of the integers of scales with two levels. By default the scales have one level. */
  readonly scaleBits?: number;
  /**
   * The natural order is from the first column to the last, and the activation order by decreasing diagonal entries of
   * the Hessian. The activation order rounds the columns with the largest activations while most columns are left to
   * compensate for their errors.
   */
  readonly order: "natural" | "activation";
}

/** The largest code of a grid. The codes are 0 … maxCode. */
export function maxCode({ bits }: Pick<GridOptions, "bits">): number {
  return 2 ** bits - 1;
}

/** The largest magnitude of the integers of scales with two levels, or 0 if the scales have one level. */
export function scaleLimit(
  { scaleBits, symmetric }: Pick<QuantizationOptions, "scaleBits" | "symmetric">,
): number {
  return scaleBits === undefined ? 0 : 2 ** (symmetric ? scaleBits - 1 : scaleBits) - 1;
}

/** The number of grids in one row of `cols` columns. The last group of a row may have fewer columns. */
export function gridsPerRow({ groupSize }: Pick<GridOptions, "groupSize">, cols: number): number {
  return groupSize === 0 ? 1 : Math.ceil(cols / groupSize);
}

/**
 * Checks that the options fit the block size and the group size of the pattern (1 if it is unstructured).
 * @throws {RangeError} that names the parameter, the rule and the value
 */
export function checkQuantization(
  { bits, groupSize, order, scaleBits, symmetric }: QuantizationOptions,
  { blocksize, patternGroup }: { readonly blocksize: number; readonly patternGroup: number },
): void {
  if (!Number.isInteger(bits) || bits < MIN_BITS || bits > MAX_BITS) {
    throw new RangeError(`bits ${bits}: must be an integer from ${MIN_BITS} to ${MAX_BITS}`);
  }
  if (!Number.isInteger(groupSize) || groupSize < 0) {
    throw new RangeError(`group_size ${groupSize}: must be a positive integer, or 0 for whole rows`);
  }
  if (scaleBits !== undefined) checkScaleBits({ bits, groupSize, scaleBits, symmetric, blocksize });
  if (groupSize > 0 && blocksize % groupSize !== 0) {
    throw new RangeError(`group_size ${groupSize}: must divide the block size, which is ${blocksize}`);
  }
  if (groupSize % patternGroup !== 0) {
    throw new RangeError(
      `group_size ${groupSize}: must be a multiple of ${patternGroup}, the group size of the pattern`,
    );
  }
  if (order === "activation" && patternGroup > 1) {
    throw new RangeError(
      `order activation: cannot be used with an n:m pattern (here groups of ${patternGroup}), because it takes the columns of a group apart`,
    );
  }
  if (order === "activation" && groupSize > 0) {
    throw new RangeError(
      `order activation: needs group_size 0, because it takes the columns of a group apart, but group_size is ${groupSize}`,
    );
  }
}

function checkScaleBits(
  { bits, groupSize, scaleBits, symmetric, blocksize }:
    & GridOptions
    & { readonly scaleBits: number; readonly blocksize: number },
): void {
  if (!Number.isInteger(scaleBits) || scaleBits < MIN_BITS || scaleBits > MAX_BITS) {
    throw new RangeError(`scale_bits ${scaleBits}: must be an integer from ${MIN_BITS} to ${MAX_BITS}`);
  }
  if (!symmetric && scaleBits < bits) {
    throw new RangeError(
      `scale_bits ${scaleBits}: must be at least bits, which is ${bits}, for asymmetric grids`,
    );
  }
  if (groupSize === 0 || SUPER_BLOCK_COLUMNS % groupSize !== 0) {
    throw new RangeError(
      `scale_bits ${scaleBits}: needs a group_size that divides ${SUPER_BLOCK_COLUMNS}, but group_size is ${groupSize}`,
    );
  }
  if (blocksize !== SUPER_BLOCK_COLUMNS) {
    throw new RangeError(
      `scale_bits ${scaleBits}: needs the block size ${SUPER_BLOCK_COLUMNS}, but it is ${blocksize}`,
    );
  }
}

/** Describes grids for messages, for example `4 bits in groups of 32, symmetric`. */
export function describeGrid({ bits, groupSize, symmetric }: GridOptions): string {
  return `${bits} bits ${groupSize === 0 ? "per row" : `in groups of ${groupSize}`}, ${
    symmetric ? "symmetric" : "asymmetric"
  }`;
}

/** Whether a number is finite and exact in F16. */
export function isFloat16(value: number): boolean {
  return Math.f16round(value) === value && Number.isFinite(value);
}

/** Returns the first weight with the largest magnitude. */
export function largest(weights: Float32Array): number {
  let found = 0;
  for (let i = 0; i < weights.length; i++) if (Math.abs(weights[i]) > Math.abs(found)) found = weights[i];
  return found;
}
