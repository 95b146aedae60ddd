/**
 * The layout `pack-quantized` of the compressed-tensors library: the tensors that replace a quantised weight. The source is
 * `compressors/pack_quantized` in github.com/vllm-project/compressed-tensors (version 0.20). In this layout a weight is an
 * integer code of B bits, and (code − zero)·scale is its value. A weight matrix of shape (rows, cols) with groups of columns
 * becomes
 *
 *     weight_packed      (rows, ⌈cols·B/32⌉)    I32                   the codes of a row, column by column
 *     weight_scale       (rows, groups)         dtype of the weight
 *     weight_zero_point  (⌈rows·B/32⌉, groups)  I32                   the zeros of a group, row by row (asymmetric grids only)
 *     weight_shape       (2)                    I64                   rows, cols
 *
 * Code i of a row occupies bits i·B to i·B + B − 1 of the row's words, least significant bit first. The bits after the last
 * code are 0. The library subtracts 2^(B−1) from every code and every zero to get signed integers. If the grid is symmetric, the
 * zero is 2^(B−1) and is not stored. Pare supports 4 and 8 bits, for which the library and vLLM have kernels.
 */

import type { TensorSpec } from "../../../tensor/safetensors/encode.ts";
import type { FloatDtype } from "../../../tensor/dtype.ts";
import { type GridOptions, gridsPerRow } from "../../../tensor/quantization.ts";

export const PACKED_BITS: readonly number[] = [4, 8];

/** The suffixes of the tensors' names, each of which replaces {@link WEIGHT_SUFFIX}. */
export const QUANTIZED_SUFFIXES = {
  packed: ".weight_packed",
  scale: ".weight_scale",
  zeroPoint: ".weight_zero_point",
  shape: ".weight_shape",
} as const;

export const WEIGHT_SUFFIX = ".weight";

/** Removes {@link WEIGHT_SUFFIX} from the name of a weight. */
export function stemOf(weight: string): string {
  return weight.endsWith(WEIGHT_SUFFIX) ? weight.slice(0, -WEIGHT_SUFFIX.length) : weight;
}

export type QuantizedPart = keyof typeof QUANTIZED_SUFFIXES;

/** Returns the names of the tensors of a weight. @param stem the name of the weight without `.weight` */
export function quantizedNames(stem: string): Record<QuantizedPart, string> {
  const { packed, scale, zeroPoint, shape } = QUANTIZED_SUFFIXES;
  return { packed: stem + packed, scale: stem + scale, zeroPoint: stem + zeroPoint, shape: stem + shape };
}

/** The shape, the dtype and the grid of a weight that is stored in this layout. */
export interface QuantizedShape extends GridOptions {
  readonly rows: number;
  readonly cols: number;
  /** The dtype of the scales, which is also the dtype of the dense weight. */
  readonly dtype: FloatDtype;
}

/** A weight that is stored in this layout. */
export interface QuantizedParts extends QuantizedShape {
  readonly weight: string;
  /** The names of the tensors that store the weight. */
  readonly names: Record<QuantizedPart, string>;
}

/** Returns the number of I32 words that hold `count` codes of `bits` bits. */
export function wordCount(count: number, bits: number): number {
  return Math.ceil(count * bits / 32);
}

/** Returns the tensors that replace a weight. @param stem the name of the weight without `.weight` */
export function quantizedSpecs(stem: string, shape: QuantizedShape): TensorSpec[] {
  const { rows, cols, bits, dtype, symmetric } = shape;
  const names = quantizedNames(stem), groups = gridsPerRow(shape, shape.cols);
  const zeroPoint: TensorSpec = {
    name: names.zeroPoint,
    dtype: "I32",
    shape: [wordCount(rows, bits), groups],
  };
  return [
    { name: names.packed, dtype: "I32", shape: [rows, wordCount(cols, bits)] },
    { name: names.scale, dtype, shape: [rows, groups] },
    ...symmetric ? [] : [zeroPoint],
    { name: names.shape, dtype: "I64", shape: [2] },
  ];
}

/**
 * Returns why the layout cannot store a grid, or undefined if it can. The bits must be 4 or 8, and the library requires a group size that
 * divides the columns.
 */
export function unstorableReason(
  { bits, groupSize, cols }: Omit<QuantizedShape, "rows" | "dtype">,
): string | undefined {
  if (!PACKED_BITS.includes(bits)) {
    return `pack-quantized stores ${PACKED_BITS.join(" or ")} bits, not ${bits}`;
  }
  if (groupSize === 0 || cols % groupSize === 0) return undefined;
  return `pack-quantized needs a group size that divides the ${cols} columns of the weight; ${groupSize} does not`;
}
