/** The chart of the sparsity (the fraction of zeros) by block, with one panel per kind of layer. */

import { drawBlockPanels, valuesByKind } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatShare } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { sparsityOf } from "./summary.ts";

/** Sparsities that differ by less than this are shown as equal, because the number of zeros in a layer is rounded. */
const EQUAL_WITHIN = 0.001;

/** Draws the chart. Returns undefined if all layers have the same sparsity, which one number shows better. */
export function drawSparsityChart(document: Page, run: RunReport): PageElement | undefined {
  let min = 1, max = 0;
  for (const { sparsity } of run.layers) {
    min = Math.min(min, sparsity);
    max = Math.max(max, sparsity);
  }
  if (max - min < EQUAL_WITHIN) return undefined;
  return drawBlockPanels(valuesByKind(run.layers, sparsityOf), {
    document,
    id: "sparsity-chart",
    title: "Sparsity by block",
    description: `From ${formatShare(min)} to ${formatShare(max)} of the weights of a layer are zero.`,
    blocks: run.model.blocks,
    max: 1,
    format: (share) => `${Math.round(100 * share)} %`,
  });
}
