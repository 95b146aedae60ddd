/** The tables of the solvers bench on wide synthetic layers. */

import { type Column, formatPercent, markdownTable } from "../../report/markdown_table.ts";
import type { WideLayerResult, WideResult } from "./bench_wide.ts";

/** The results of all layers, as they are stored in `results/solvers_wide.json`. */
export interface WideResults {
  readonly layers: readonly WideLayerResult[];
}

/** A row: one method on one layer. */
interface Row {
  readonly layer: WideLayerResult;
  readonly result: WideResult;
}

/** If the share of a kernel is smaller than this on every layer, the kernel has no row of its own. */
const SMALLEST_SHARE = 0.01;

const COLUMNS: readonly Column<Row>[] = [
  ["rows × cols", ({ layer: { n } }) => `${n} × ${n}`],
  ["method", ({ result }) => result.title],
  ["relative error", ({ result }) => result.relativeError.toFixed(4)],
  [
    "error / SparseGPT's",
    ({ layer, result }) => (result.relativeError / layer.methods[0].relativeError).toFixed(3),
  ],
  ["products", ({ result }) => String(result.products)],
  ["factors", ({ result }) => String(result.factors)],
  ["s", ({ result }) => result.seconds.toFixed(2)],
  ["× its parts", ({ result }) => result.overParts.toFixed(2)],
];

/**
 * Renders one row per layer and method. SparseGPT is the first method of each layer. The column `× its parts`
 * shows the time of the method divided by the estimated time of its products, factors and SparseGPT solve.
 */
export function wideTable({ layers }: WideResults): string {
  return markdownTable(
    COLUMNS,
    layers.flatMap((layer) => layer.methods.map((result) => ({ layer, result }))),
  );
}

/** Renders the share of each kernel in the time of `ALPS default`. Each layer has a column. */
export function kernelTable({ layers }: WideResults): string {
  const shareOf = (layer: WideLayerResult, kernel: string) => layer.kernelShares[kernel] ?? 0;
  const names = [...new Set(layers.flatMap(({ kernelShares }) => Object.keys(kernelShares)))];
  const shown = names.filter((name) => layers.some((layer) => shareOf(layer, name) >= SMALLEST_SHARE));
  const columns: Column<string>[] = [
    ["kernel", (name) => name],
    ...layers.map((layer): Column<string> => [`${layer.n}²`, (name) => {
      const share = name === REST
        ? 1 - shown.reduce((total, next) => total + shareOf(layer, next), 0)
        : shareOf(layer, name);
      return formatPercent(share);
    }]),
  ];
  return markdownTable(columns, [...shown, REST]);
}

/** The title of the row for all kernels that have no row of their own. */
const REST = "all others";
