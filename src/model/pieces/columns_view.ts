import type { DeviceBuffer } from "../../device/backend.ts";

/**
 * A view of a row-major f32 activation. Row r, column c of the view is element r · ld + offset + c of
 * `buffer`. `ld` is the number of columns of the whole buffer.
 */
export interface ColumnsView {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly ld: number;
}

/** Returns the view of all columns of an activation that has `columns` columns. */
export function allColumns(buffer: DeviceBuffer, columns: number): ColumnsView {
  return { buffer, offset: 0, ld: columns };
}
