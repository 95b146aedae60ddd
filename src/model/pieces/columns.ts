/** Copies some columns of an activation to another one, such as the values of each head. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { addRows } from "../../device/kernels/forward/rows.ts";
import { copy2d } from "../../device/kernels/transfer/copy2d.ts";
import type { BlockPass } from "./block_pass.ts";
import { allColumns, type ColumnsView } from "./columns_view.ts";

/**
 * Queues copying the first `rows` rows and `cols` columns of `source` to each of `targets`, which are different columns of one buffer. For
 * all heads at once, a row can be one head of a token, because consecutive heads are equally far apart.
 */
export function copyColumns(
  { backend, workspace, tape }: Pick<BlockPass, "backend" | "workspace" | "tape">,
  rows: number,
  cols: number,
  source: ColumnsView,
  targets: readonly ColumnsView[],
): void {
  const copy = (from: ColumnsView, to: ColumnsView) => {
    const places = {
      source_offset: from.offset,
      source_ld: from.ld,
      target_offset: to.offset,
      target_ld: to.ld,
    };
    backend.dispatch(copy2d, { source: from.buffer, target: to.buffer }, { rows, cols, ...places });
  };
  const [{ buffer }] = targets;
  tape?.beforeChange(buffer);
  for (const target of targets) copy(source, target);
  tape?.record(buffer, (gradient) => {
    const index = workspace.placeholder, factors = index;
    const add = (x: DeviceBuffer, y: DeviceBuffer, count: number) => {
      const params = { rows: 1, cols: count, offset: 0, has_index: 0, scale: 1 };
      backend.dispatch(addRows, { x, index, factors, y }, params);
    };
    const [part, sum] = ["of columns", "of all columns"].map((name) =>
      allColumns(workspace.buffer(`gradient ${name}`, rows * cols), cols)
    );
    backend.clear(sum.buffer);
    for (const target of targets) {
      copy({ ...target, buffer: gradient }, part);
      add(part.buffer, sum.buffer, rows * cols);
    }
    // The other columns of the source have no gradient from this step.
    const count = source.buffer.byteLength / 4, whole = workspace.buffer("gradient of a source", count);
    backend.clear(whole);
    copy(sum, { ...source, buffer: whole });
    add(whole, tape.gradient(source.buffer), count);
  });
}
