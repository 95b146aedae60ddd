/** Copies some columns of an activation to another one, such as those of the values of each head. */

import { addRows } from "../../device/kernels/forward/rows.ts";
import { copy2d } from "../../device/kernels/transfer/copy2d.ts";
import type { BlockPass } from "./block_pass.ts";
import type { ColumnsView } from "./columns_view.ts";

/**
 * Queues copying the first `rows` rows and `cols` columns of `source` to `target`. For all heads at once, a row can be that of one head of
 * a token, because consecutive heads are equally far apart.
 */
export function copyColumns(
  { backend, workspace, tape }: Pick<BlockPass, "backend" | "workspace" | "tape">,
  rows: number,
  cols: number,
  source: ColumnsView,
  target: ColumnsView,
): void {
  const from = { source_offset: source.offset, source_ld: source.ld };
  const to = { target_offset: target.offset, target_ld: target.ld };
  tape?.beforeChange(target.buffer);
  backend.dispatch(copy2d, { source: source.buffer, target: target.buffer }, { rows, cols, ...from, ...to });
  tape?.record(target.buffer, (gradient) => {
    const count = source.buffer.byteLength / 4, unused = workspace.placeholder;
    const part = workspace.buffer("gradient of columns", count);
    backend.clear(part);
    backend.dispatch(copy2d, { source: gradient, target: part }, {
      rows,
      cols,
      source_offset: target.offset,
      source_ld: target.ld,
      target_offset: source.offset,
      target_ld: source.ld,
    });
    const places = { x: part, index: unused, factors: unused, y: tape.gradient(source.buffer) };
    backend.dispatch(addRows, places, { rows: 1, cols: count, offset: 0, has_index: 0, scale: 1 });
  });
}
