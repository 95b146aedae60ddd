/** The residual stream. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { addInto } from "../../kernels/activate.ts";
import type { BlockPass } from "./block_pass.ts";

/** Queues stream += update, both (rows, cols) f32. */
export function addResidual(
  { backend, rows }: BlockPass,
  stream: DeviceBuffer,
  update: DeviceBuffer,
  cols: number,
): void {
  backend.dispatch(addInto, { x: update, y: stream }, { count: rows * cols });
}
