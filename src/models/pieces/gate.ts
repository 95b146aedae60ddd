/** The gate of a gated feed-forward: activation(gate)·up. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { ACTIVATION_CODE, gatedMultiply } from "../../kernels/activate.ts";
import type { Activation, BlockPass } from "./block_pass.ts";
import type { Columns } from "./columns.ts";

/**
 * Queues activation(gate)·up, element by element, over `width` columns.
 * @returns (rows, width) f32, valid until a gate runs again
 */
export function gated(
  { backend, workspace, rows }: BlockPass,
  gate: Columns,
  up: Columns,
  width: number,
  activation: Activation,
): DeviceBuffer {
  const y = workspace.take("gated", rows * width);
  backend.dispatch(gatedMultiply, { gate: gate.buffer, up: up.buffer, y }, {
    rows,
    cols: width,
    gate_offset: gate.offset,
    ld_gate: gate.ld,
    up_offset: up.offset,
    ld_up: up.ld,
    activation: ACTIVATION_CODE[activation],
  });
  return y;
}
