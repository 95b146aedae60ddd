/** Copies chosen rows of an activation for an expert of a mixture, and adds the outputs of the expert to such rows. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { addRows, gatherRows } from "../../device/kernels/forward/rows.ts";
import type { BlockPass } from "./block_pass.ts";

type Pass = Pick<BlockPass, "backend" | "workspace" | "tape">;

/** Chosen row r is row `index[offset + r]` of an activation, and has the factor `factors[offset + r]`. */
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

/** Queues copying the chosen rows of `x` to `y`, (rows, cols) f32. If `isScaled`, they are multiplied by their factors. */
export function copyRows(
  pass: Pass,
  chosen: ChosenRows,
  x: DeviceBuffer,
  y: DeviceBuffer,
  isScaled = false,
): void {
  const { backend, workspace, tape } = pass, { index, offset, rows, cols } = chosen;
  if (isScaled) {
    backend.clear(y);
    addScaledRows(pass, chosen, x, y);
  } else {
    backend.dispatch(gatherRows, { x, index, y }, { rows, cols, offset });
  }
  tape?.record(y, (gradient) => {
    const factors = isScaled ? chosen.factors : workspace.ones(offset + rows);
    const params = { rows, cols, offset, has_index: 1, scale: 1 };
    backend.dispatch(addRows, { x: gradient, index, factors, y: tape.gradient(x) }, params);
  });
}

/** Queues adding the rows of `x`, (rows, cols) f32, times their factors to the chosen rows of `y`. The factors get no gradient. */
export function addToRows(pass: Pass, chosen: ChosenRows, x: DeviceBuffer, y: DeviceBuffer): void {
  const { backend, tape } = pass, { index, factors, offset, rows, cols } = chosen;
  tape?.beforeChange(y);
  backend.dispatch(addRows, { x, index, factors, y }, { rows, cols, offset, has_index: 1, scale: 1 });
  tape?.record(y, (gradient) => addScaledRows(pass, chosen, gradient, tape.gradient(x)));
}

/** Allocates the buffers of scaled rows for up to `rows` rows, so that no call of `copyRows` replaces them by larger ones. */
export function reserveScaledRows({ workspace }: Pick<Pass, "workspace">, rows: number, cols: number) {
  return {
    copied: workspace.buffer("rows without factors", rows * cols),
    own: workspace.buffer("factors of rows", rows),
    order: workspace.constant("row numbers", rows, () => rowNumbers(rows)),
  };
}

/** Queues adding the chosen rows of `x`, times their factors, to `y`, (rows, cols) f32. */
function addScaledRows(
  pass: Pass,
  { index, factors, offset, rows, cols }: ChosenRows,
  x: DeviceBuffer,
  y: DeviceBuffer,
): void {
  const { backend } = pass, { copied, own, order } = reserveScaledRows(pass, rows, cols);
  backend.dispatch(gatherRows, { x, index, y: copied }, { rows, cols, offset });
  backend.copy(factors, 4 * offset, own, 0, 4 * rows);
  const params = { rows, cols, offset: 0, has_index: 1, scale: 1 };
  backend.dispatch(addRows, { x: copied, index: order, factors: own, y }, params);
}

/** Returns the bits of the integers 0 … count − 1. */
function rowNumbers(count: number): Float32Array<ArrayBuffer> {
  return new Float32Array(Uint32Array.from({ length: count }, (_, i) => i).buffer);
}
