/**
 * The gate of a gated feed-forward network. It combines two outputs of linear layers, `gate` and `up`, into
 * activation(gate)·up.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { ACTIVATION_CODE, gatedMultiply } from "../../kernels/forward/activate.ts";
import type { Activation, BlockPass } from "./block_pass.ts";
import type { ColumnsView } from "./columns_view.ts";

/**
 * Queues activation(gate)·up, element by element.
 * @param columns the number of columns of `gate`, `up` and the result
 * @returns (rows, columns) f32, valid until a gate is queued again
 */
export function applyGate(
  { backend, workspace, rows }: BlockPass,
  gate: ColumnsView,
  up: ColumnsView,
  columns: number,
  activation: Activation,
): DeviceBuffer {
  const y = workspace.buffer("gated", rows * columns);
  backend.dispatch(gatedMultiply, { gate: gate.buffer, up: up.buffer, y }, {
    rows,
    cols: columns,
    gate_offset: gate.offset,
    ld_gate: gate.ld,
    up_offset: up.offset,
    ld_up: up.ld,
    activation: ACTIVATION_CODE[activation],
  });
  return y;
}
