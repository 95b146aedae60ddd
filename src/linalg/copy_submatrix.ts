/** Copies a submatrix between two buffers whose leading dimensions may differ. */

import type { Backend } from "../backend/backend.ts";
import { copy2d } from "../kernels/copy2d.ts";
import type { Submatrix } from "./submatrix.ts";

/** Queues target ← source for a submatrix of (rows, cols). `source` and `target` must lie in different buffers. */
export function copySubmatrix(
  backend: Backend,
  source: Submatrix,
  target: Submatrix,
  rows: number,
  cols: number,
): void {
  backend.dispatch(copy2d, { source: source.buffer, target: target.buffer }, {
    rows,
    cols,
    source_offset: source.offset,
    source_ld: source.ld,
    target_offset: target.offset,
    target_ld: target.ld,
  });
}
