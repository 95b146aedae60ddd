/** Tests of norm_backward for rows of many lengths, and of its float64 reference against central differences. */

import { describe, it } from "@std/testing/bdd";
import { normBackward, normBackwardCase } from "../../../src/device/kernels/training/norm_backward.ts";
import { layer_norm, rms_norm } from "../../reference/kernels/normalize.ts";
import { norm_backward } from "../../reference/kernels/norm_backward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [[1, 1], [7, 7], [3, 31], [33, 33], [5, 127], [2, 129], [9, 172], [3, 1000], [1, 4097]];

describe("the float64 gradient of a norm", () => {
  for (const [is_centered, name] of ["RMSNorm", "LayerNorm"].entries()) {
    it(`agrees with the central differences of ${name}`, () => {
      const { params, buffers } = normBackwardCase(3, 17, is_centered), { rows, cols } = params;
      const contents = Object.fromEntries(
        Object.entries(buffers()).map(([key, values]) => [key, Float64Array.from(values)]),
      );
      const { x, weight, gradient } = contents, direction = Float64Array.from(gradient);
      /** Returns Σ direction∘norm(x). */
      const dot = (inputs: Float64Array, weights: Float64Array) => {
        const y = new Float64Array(rows * cols), bias = new Float64Array(cols);
        (is_centered ? layer_norm : rms_norm)({ x: inputs, weight: weights, bias, y }, params);
        return y.reduce((sum, value, i) => sum + value * direction[i], 0);
      };
      const differences = (values: Float64Array, evaluate: (changed: Float64Array) => number) =>
        Array.from({ length: values.length }, (_, i) => {
          const [up, down] = [1e-5, -1e-5].map((h) => evaluate(values.with(i, values[i] + h)));
          return (up - down) / 2e-5;
        });
      const x_gradient = new Float64Array(x.length);
      norm_backward({ ...contents, x_gradient }, params);
      assertClose(x_gradient, differences(x, (inputs) => dot(inputs, weight)), 1e-8);
      const columnSums = weight.map((_, c) =>
        Array.from({ length: rows }, (_, r) => gradient[r * cols + c]).reduce((sum, value) => sum + value)
      );
      assertClose(columnSums, differences(weight, (weights) => dot(x, weights)), 1e-8);
    });
  }
});

testKernel(
  normBackward,
  { tolerance: 1e-6 },
  ...SIZES.map(([rows, cols]) =>
    [
      `computes the gradients of ${rows} rows of ${cols} elements`,
      ...[0, 1].map((is_centered) => normBackwardCase(rows, cols, is_centered)),
    ] as const
  ),
  ["handles more rows than a grid has workgroups along one axis", normBackwardCase(65537, 2, 1)],
  [
    "is accurate if the mean is much larger than the deviation",
    normBackwardCase(4, 1000, 1, (value) => 3000 + value),
  ],
  ["handles constant rows and rows of zeros", ...[0.1, 0].map((x) => normBackwardCase(3, 172, 1, () => x))],
);
