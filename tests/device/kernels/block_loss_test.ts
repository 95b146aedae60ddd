/** Tests of block_loss for rows of many lengths, of which some have the target 0, and of its gradient against central differences. */

import { describe, it } from "@std/testing/bdd";
import { blockLoss, blockLossCase } from "../../../src/device/kernels/training/block_loss.ts";
import { block_loss } from "../../reference/kernels/block_loss.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testKernel } from "../../support/kernel_cases.ts";

describe("the float64 gradient of the loss of a block", () => {
  it("agrees with central differences of Σ scale·errors", () => {
    const rows = 5, cols = 7, scale = 0.75, count = rows * cols;
    const outputs = Float64Array.from({ length: count }, (_, i) => Math.sin(i));
    const targets = Float64Array.from({ length: count }, (_, i) => Math.cos(3 * i));
    const evaluate = (changed: Float64Array) => {
      const gradient = new Float64Array(count), errors = new Float64Array(rows);
      block_loss({ outputs: changed, targets, gradient, errors }, { rows, cols, scale });
      return { gradient, loss: scale * errors.reduce((sum, error) => sum + error) };
    };
    const differences = outputs.map((value, i) => {
      const [up, down] = [1e-5, -1e-5].map((h) => evaluate(outputs.with(i, value + h)).loss);
      return (up - down) / 2e-5;
    });
    assertClose(evaluate(outputs).gradient, differences, 1e-9);
  });
});

testKernel(
  blockLoss,
  { tolerance: 1e-6 },
  ...[[3, 1], [7, 7], [3, 31], [5, 127], [9, 129], [129, 172], [3, 12289]].map(([rows, cols]) =>
    [`compares ${rows} rows of ${cols} elements`, blockLossCase(rows, cols)] as const
  ),
  ["compares more rows than a grid has workgroups along one axis", blockLossCase(65537, 2)],
);
