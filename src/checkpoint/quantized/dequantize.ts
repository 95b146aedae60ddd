/** Computes the values of quantised rows from their codes and their grids. */

import { gridsPerRow } from "../../quantization/quantization.ts";
import type { QuantizedShape } from "./layout.ts";

/** The grids of some rows. There is one grid per row and group of columns. */
export interface RowGrids {
  /** The distance between neighbouring values of each grid: (rows, groups). */
  readonly scales: Float32Array;
  /** The code of the value 0 in each grid: (rows, groups), from 0 to 2^bits − 1. */
  readonly zeros: Uint8Array;
}

/**
 * Computes (code − zero)·scale for every entry of some rows. The difference has at most 8 significant bits, and a scale in F16
 * or BF16 has at most 11, so their product is exact in f32. If the caller rounds the product to the dtype of the scale, it gets
 * the same bits as the compressed-tensors library, which multiplies in this dtype. An entry whose code equals its zero becomes +0.
 *
 * @param codes the codes of the rows: (rows, cols), for any number of rows
 */
export function dequantizeRows(
  codes: Uint8Array,
  { scales, zeros }: RowGrids,
  shape: Pick<QuantizedShape, "cols" | "groupSize">,
): Float32Array<ArrayBuffer> {
  const { cols } = shape, groups = gridsPerRow(shape, shape.cols), groupSize = shape.groupSize || cols;
  const values = new Float32Array(codes.length);
  for (let begin = 0, grid = 0; begin < codes.length; begin += cols) {
    for (let group = 0; group < groups; group++, grid++) {
      const scale = scales[grid], zero = zeros[grid];
      const end = begin + Math.min(cols, (group + 1) * groupSize);
      for (let i = begin + group * groupSize; i < end; i++) values[i] = (codes[i] - zero) * scale;
    }
  }
  return values;
}
