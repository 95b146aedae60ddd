/** The backward pass of the norms of a model (`forward/normalize.ts`). */

import { defineKernel, rowGrid } from "../kernel.ts";
import { positives, signed, sumRoundings } from "../kernel_case.ts";
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import code from "../../../../shaders/norm_backward.wgsl" with { type: "text" };

/**
 * The backward pass of `layerNorm` (`is_centered` = 1) or `rmsNorm` (0), for each contiguous row of `cols` elements.
 * The result of an RMSNorm is y = n∘weight, where n is the normalised row of x, and a LayerNorm adds its bias. With the
 * gradient g of y, s = 1/√(variance or mean of squares + eps), and the mean m(·) over a row: x_gradient ← x_gradient +
 * s·(g∘weight − m(g∘weight) − n·m(g∘weight∘n)), where an RMSNorm lacks the term m(g∘weight). Then `gradient` ← g∘n,
 * whose column sums are the gradient of the weight.
 */
export const normBackward = defineKernel({
  name: "norm_backward",
  bindings: { x: "read", weight: "read", gradient: "read_write", x_gradient: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32", is_centered: "u32" },
  shader: { code: sums + code, grid: rowGrid },
  cases: () => [
    { feature: "RMSNorm", ...normBackwardCase(7, 777, 0) },
    { feature: "LayerNorm", ...normBackwardCase(7, 777, 1) },
    { feature: "LayerNorm, large mean", ...normBackwardCase(2, 777, 1, (value) => 1000 + value) },
  ],
});

/** A case whose elements of `x` are `change` of numbers between −1 and 1. Some elements follow the last row. */
export function normBackwardCase(
  rows: number,
  cols: number,
  is_centered: number,
  change = (value: number) => value,
) {
  const count = rows * cols + 5;
  return {
    params: { rows, cols, eps: 0.25, is_centered },
    buffers: () => ({
      x: signed(count, 820).map(change),
      weight: positives(cols, 821),
      gradient: signed(count, 822),
      x_gradient: signed(count, 823),
    }),
    roundings: { gradient: sumRoundings(cols), x_gradient: sumRoundings(cols) },
  };
}
