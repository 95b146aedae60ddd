/**
 * The chart of the sparsity (the fraction of zeros) by block. If all layers have the same sparsity, the chart has one
 * panel with the sparsity of each block. Otherwise it has one panel per kind of layer.
 */

import { type BlockValue, drawBlockPanels } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatShare } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";
import { layerKind, totals } from "./summary.ts";

/** Sparsities that differ by less than this are shown as equal, because the number of zeros in a layer is rounded. */
const EQUAL_WITHIN = 0.001;

/** Draws the chart. Returns undefined if nothing was pruned. */
export function drawSparsityChart(document: Page, run: RunReport): PageElement | undefined {
  if (run.layers.length === 0) return undefined;
  const sparsities = run.layers.map(({ sparsity }) => sparsity);
  const min = Math.min(...sparsities), max = Math.max(...sparsities);
  const values = max - min < EQUAL_WITHIN ? byBlock(run.layers) : run.layers.map((layer) => (
    { series: layerKind(layer), block: layer.block, value: layer.sparsity }
  ));
  return drawBlockPanels(values, {
    document,
    id: "sparsity-chart",
    title: "Sparsity by block",
    description: `From ${formatShare(min)} to ${formatShare(max)} of the weights of a layer are zero.`,
    blocks: run.model.blocks,
    max: 1,
    format: (share) => `${Math.round(100 * share)} %`,
  });
}

/** The sparsity of each block, over all of its pruned layers. */
function byBlock(layers: readonly LayerRun[]): BlockValue[] {
  return [...Map.groupBy(layers, ({ block }) => block)].map(([block, inBlock]) => {
    const { zeros, entries } = totals(inBlock);
    return { series: "all layers", block, value: zeros / entries };
  });
}
