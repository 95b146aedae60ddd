/** The loss by which the outputs of a block are compared with their targets. All tokens count equally. */

import { defineKernel, rowGrid } from "../kernel.ts";
import { filled, signed, sumRoundings } from "../kernel_case.ts";
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import code from "../../../../shaders/block_loss.wgsl" with { type: "text" };

/**
 * For each contiguous row r of `cols` elements, with the output o and the target t: errors[r] ← ‖o − t‖²/‖t‖², and
 * gradient[r] ← scale·2·(o − t)/‖t‖². If the target is 0, so is the gradient, and the error is 1, or 0 if o = 0.
 */
export const blockLoss = defineKernel({
  name: "block_loss",
  bindings: { outputs: "read", targets: "read", gradient: "read_write", errors: "read_write" },
  params: { rows: "u32", cols: "u32", scale: "f32" },
  shader: { code: sums + code, grid: rowGrid },
  cases: () => [blockLossCase(9, 777)],
});

/** A case whose last two rows have the target 0, and whose last row has the output 0. Some elements follow it. */
export function blockLossCase(rows: number, cols: number) {
  const count = rows * cols, zeros = (rows - 2) * cols;
  return {
    params: { rows, cols, scale: 0.75 },
    buffers: () => ({
      outputs: signed(count + 5, 840).fill(0, count - cols, count),
      targets: signed(count + 5, 841).fill(0, Math.max(0, zeros), count),
      gradient: filled(count + 5),
      errors: filled(rows + 3),
    }),
    roundings: { gradient: sumRoundings(cols), errors: sumRoundings(cols) },
  };
}
