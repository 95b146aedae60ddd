/** Consecutive columns of an activation. Heads, or the parts of a fused layer's outputs, are side by side in one buffer. */

import type { DeviceBuffer } from "../../backend/backend.ts";

/** The columns from `offset` on of a row-major f32 activation whose rows are `ld` elements apart. */
export interface Columns {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly ld: number;
}

/** Returns all columns of an activation with `width` columns. */
export function whole(buffer: DeviceBuffer, width: number): Columns {
  return { buffer, offset: 0, ld: width };
}
