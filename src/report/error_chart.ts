/** The relative error of every layer, a panel a kind of layer: where in the model the pruning costs most. */

import { blockPanels, type BlockValue } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatNumber } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { layerKind } from "./summary.ts";

/** The chart; undefined where no error was measured. */
export function errorChart(document: Page, run: RunReport): PageElement | undefined {
  const values: BlockValue[] = run.layers.flatMap((layer) =>
    layer.relative_error === null
      ? []
      : [{ series: layerKind(layer), block: layer.block, value: layer.relative_error }]
  );
  if (values.length === 0) return undefined;
  const worst = values.reduce((a, b) => b.value > a.value ? b : a);
  return blockPanels(values, {
    document,
    id: "error-chart",
    title: "Relative error of each layer by block",
    description:
      `The greatest is ${formatNumber(worst.value)}, of ${worst.series} in block ${worst.block}. ` +
      "The table below has every value.",
    blocks: run.model.blocks,
    format: String,
  });
}
