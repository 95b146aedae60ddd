/** Copies a block between buffers of different leading dimensions. */

import type { Backend } from "../backend/backend.ts";
import { copy2d } from "../kernels/copy2d.ts";
import type { Block } from "./gemm.ts";

/** Queues target ← source for a (rows, cols) block. The buffers must differ. */
export function copyBlock(backend: Backend, source: Block, target: Block, rows: number, cols: number): void {
  backend.dispatch(copy2d, { source: source.buffer, target: target.buffer }, {
    rows,
    cols,
    source_offset: source.offset,
    source_ld: source.ld,
    target_offset: target.offset,
    target_ld: target.ld,
  });
}
