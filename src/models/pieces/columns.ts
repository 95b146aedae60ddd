/** A run of columns of an activation: several heads or parts of a fused layer's outputs lie side by side in one buffer. */

import type { DeviceBuffer } from "../../backend/backend.ts";

/** Columns `offset` and on of a row-major f32 activation with rows `ld` elements apart. */
export interface Columns {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly ld: number;
}

/** The whole of an activation of `width` columns. */
export function whole(buffer: DeviceBuffer, width: number): Columns {
  return { buffer, offset: 0, ld: width };
}
