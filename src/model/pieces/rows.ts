/** Copies chosen rows of an activation for an expert of a mixture, and adds the outputs of the expert to such rows. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { addRows, gatherRows } from "../../device/kernels/forward/rows.ts";
import type { BlockPass } from "./block_pass.ts";

type Pass = Pick<BlockPass, "backend" | "workspace" | "tape">;

/** Row r of the chosen ones is row `index[offset + r]` of an activation, and has the factor `factors[offset + r]`. */
export interface ChosenRows {
  /** u32. */
  readonly index: DeviceBuffer;
  /** f32. */
  readonly factors: DeviceBuffer;
  readonly offset: number;
  /** The number of chosen rows. */
  readonly rows: number;
  readonly cols: number;
}

/** Queues copying the chosen rows of `x` to `y`, (rows, cols) f32. */
export function copyRows(
  { backend, workspace, tape }: Pass,
  { index, offset, rows, cols }: ChosenRows,
  x: DeviceBuffer,
  y: DeviceBuffer,
): void {
  backend.dispatch(gatherRows, { x, index, y }, { rows, cols, offset });
  tape?.record(y, (gradient) => {
    const factors = workspace.ones(offset + rows), params = { rows, cols, offset, has_index: 1, scale: 1 };
    backend.dispatch(addRows, { x: gradient, index, factors, y: tape.gradient(x) }, params);
  });
}

/** Queues adding the rows of `x`, (rows, cols) f32, times their factors to the chosen rows of `y`. The factors get no gradient. */
export function addToRows(
  { backend, workspace, tape }: Pass,
  { index, factors, offset, rows, cols }: ChosenRows,
  x: DeviceBuffer,
  y: DeviceBuffer,
): void {
  const params = { rows, cols, has_index: 1, scale: 1 };
  tape?.beforeChange(y);
  backend.dispatch(addRows, { x, index, factors, y }, { ...params, offset });
  tape?.record(y, (gradient) => {
    const chosen = workspace.buffer("gradient of rows", rows * cols);
    backend.dispatch(gatherRows, { x: gradient, index, y: chosen }, { rows, cols, offset });
    const own = workspace.buffer("factors of rows", rows);
    backend.copy(factors, 4 * offset, own, 0, 4 * rows);
    const order = workspace.constant("row numbers", rows, () => rowNumbers(rows));
    backend.dispatch(addRows, { x: chosen, index: order, factors: own, y: tape.gradient(x) }, {
      ...params,
      offset: 0,
    });
  });
}

/** Returns the bits of the integers 0 … count − 1. */
function rowNumbers(count: number): Float32Array<ArrayBuffer> {
  return new Float32Array(Uint32Array.from({ length: count }, (_, i) => i).buffer);
}
