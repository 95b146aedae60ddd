/** The share of zeros by block: in one panel where all kinds of layers have the same, else a panel a kind. */

import { blockPanels, type BlockValue } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatShare } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";
import { layerKind, totals } from "./summary.ts";

/** Shares closer than this count as the same: a layer rounds its number of zeros. */
const SAME = 0.001;

/** The chart; undefined where nothing was pruned. */
export function sparsityChart(document: Page, run: RunReport): PageElement | undefined {
  if (run.layers.length === 0) return undefined;
  const shares = run.layers.map(({ sparsity }) => sparsity);
  const least = Math.min(...shares), most = Math.max(...shares);
  const values = most - least < SAME ? byBlock(run.layers) : run.layers.map((layer) => (
    { series: layerKind(layer), block: layer.block, value: layer.sparsity }
  ));
  return blockPanels(values, {
    document,
    id: "sparsity-chart",
    title: "Share of zeros by block",
    description: `From ${formatShare(least)} to ${formatShare(most)} of a layer's weights are zero.`,
    blocks: run.model.blocks,
    most: 1,
    format: (share) => `${Math.round(100 * share)} %`,
  });
}

function byBlock(layers: readonly LayerRun[]): BlockValue[] {
  return [...Map.groupBy(layers, ({ block }) => block)].map(([block, inBlock]) => {
    const { zeros, entries } = totals(inBlock);
    return { series: "all layers", block, value: zeros / entries };
  });
}
