/** The benches' results as a Markdown table. */

import type { LayerResult } from "./bench_layer.ts";

const COLUMNS: readonly [title: string, cell: (row: LayerResult) => string][] = [
  ["rows × cols", (r) => `${r.rows} × ${r.cols}`],
  ["factor s", (r) => r.solve.factor.toFixed(3)],
  ["solve s", (r) => r.solve.solve.toFixed(3)],
  ["factor + solve s", (r) => r.solveSeconds.toFixed(3)],
  ["with error s", (r) => r.withError.solveSeconds.toFixed(3)],
  ["request s", (r) => r.wallSeconds.toFixed(3)],
  ["GFLOP/s", (r) => r.gflops.toFixed(1)],
  ["PyTorch s", (r) => r.reference?.seconds.toFixed(3) ?? "–"],
  ["× PyTorch", (r) => r.reference?.speedup.toFixed(1) ?? "–"],
];

/** A row a size. */
export function layerTable(rows: readonly LayerResult[]): string {
  return markdownTable([
    COLUMNS.map(([title]) => title),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ]);
}

/** A Markdown table, its first row the head; every column but the first is aligned right. */
export function markdownTable([head, ...rows]: readonly (readonly string[])[]): string {
  const rule = head.map((_, i) => i === 0 ? "---" : "--:");
  return [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
