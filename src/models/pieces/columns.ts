/**
 * A view of consecutive columns of an activation. A fused layer computes several activations side by side in one buffer, such
 * as queries, keys and values. Each of them is a view of that buffer, so nothing is copied.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";

/** A view of a row-major f32 activation. Element (r, c) of the view is element r · ld + offset + c of `buffer`. */
export interface ColumnsView {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly ld: number;
}

/** Returns the view of all columns of an activation that has `columns` columns. */
export function allColumns(buffer: DeviceBuffer, columns: number): ColumnsView {
  return { buffer, offset: 0, ld: columns };
}
