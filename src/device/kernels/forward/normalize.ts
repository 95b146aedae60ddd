/** Kernels that normalise the rows of a matrix of activations. */

import { defineKernel, rowGrid } from "../kernel.ts";
import { filled, positives, signed, sumRoundings } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import normalizeCode from "../../../../shaders/normalize.wgsl" with { type: "text" };

const code = shared + normalizeCode;

/**
 * For each contiguous row r of `cols` elements: y[r] ← (x[r] − mean)/√(variance + eps)·weight + bias, with the biased
 * variance, as in torch.nn.LayerNorm.
 */
export const layerNorm = defineKernel({
  name: "layer_norm",
  bindings: { x: "read", weight: "read", bias: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32" },
  shader: { code, grid: rowGrid },
  roundedOutput: ({ rows, cols }) => rows * cols,
  cases: () => [
    layerNormCase(7, 777),
    { feature: "large mean", ...layerNormCase(2, 777, (value) => 1000 + value) },
  ],
});

/**
 * For each contiguous row r of `cols` elements: y[r] ← x[r]/√(mean of squares + eps)·weight (Zhang and Sennrich, arXiv
 * 1910.07467).
 */
export const rmsNorm = defineKernel({
  name: "rms_norm",
  bindings: { x: "read", weight: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32" },
  shader: { code, grid: rowGrid },
  roundedOutput: ({ rows, cols }) => rows * cols,
  cases: () => [rmsNormCase(7, 777)],
});

/**
 * For each row r: y[r] ← y[r]/√(mean of squares of x[r] + eps). The rows of x have `cols` elements, and the rows of y
 * have `y_cols`. So y has the weights that `rmsNorm` gives to the rows of x.
 */
export const divideByRms = defineKernel({
  name: "divide_by_rms",
  bindings: { x: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", y_cols: "u32", eps: "f32" },
  shader: { code, grid: rowGrid },
  cases: () => [divideByRmsCase(7, 777, 301)],
});

/** A case whose elements are `change` of numbers between 0.5 and 1.5. Some elements follow the last row. */
export function layerNormCase(rows: number, cols: number, change = (value: number) => value) {
  const count = rows * cols + 5;
  return {
    params: { rows, cols, eps: 0.25 },
    buffers: () => ({
      x: positives(count, 410).map(change),
      weight: positives(cols, 411),
      bias: signed(cols, 412),
      y: filled(count),
    }),
    roundings: { y: sumRoundings(cols) },
  };
}

/** A case whose elements are `change` of numbers between −1 and 1. Some elements follow the last row. */
export function rmsNormCase(rows: number, cols: number, change = (value: number) => value) {
  const count = rows * cols + 5;
  return {
    params: { rows, cols, eps: 0.25 },
    buffers: () => ({ x: signed(count, 413).map(change), weight: positives(cols, 414), y: filled(count) }),
    roundings: { y: sumRoundings(cols) },
  };
}

/** A case whose rows of `x` are `change` of numbers between −1 and 1. Some elements follow the last row of `y`. */
export function divideByRmsCase(
  rows: number,
  cols: number,
  y_cols: number,
  change = (value: number) => value,
) {
  return {
    params: { rows, cols, y_cols, eps: 0.25 },
    buffers: () => ({ x: signed(rows * cols, 415).map(change), y: signed(rows * y_cols + 5, 416) }),
    roundings: { y: sumRoundings(cols) },
  };
}
