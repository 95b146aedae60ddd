/**
 * The chart of the relative errors by block, with one panel per kind of layer. It shows where in the model pruning does the most damage. The bar
 * of several layers, such as the experts of a block, is their mean.
 */

import { drawBlockPanels, valuesByKind } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatNumber } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { meanError } from "./summary.ts";

/** Draws the chart. Returns undefined if the run has no measured errors. */
export function drawErrorChart(document: Page, run: RunReport): PageElement | undefined {
  const values = valuesByKind(run.layers, meanError);
  if (values.length === 0) return undefined;
  const worst = values.reduce((a, b) => b.value > a.value ? b : a);
  return drawBlockPanels(values, {
    document,
    id: "error-chart",
    title: "Relative error of each layer by block",
    description:
      `The largest error is ${formatNumber(worst.value)}, in ${worst.series} of block ${worst.block}. ` +
      "The table below lists all values.",
    blocks: run.model.blocks,
    format: String,
  });
}
