/** The whole-model results as a Markdown table. */

import { markdownTable } from "../table.ts";
import type { ModelResult } from "./bench_model.ts";

const COLUMNS: readonly [title: string, cell: (row: ModelResult) => string][] = [
  ["model", (r) => r.title],
  ["layers", (r) => String(r.layers)],
  ["windows × tokens", (r) => `${r.windows} × ${r.seqlen}`],
  ["calibrate s", (r) => r.seconds.calibrate.toFixed(2)],
  ["factor s", (r) => r.seconds.factor.toFixed(2)],
  ["solve s", (r) => r.seconds.solve.toFixed(2)],
  ["rest s", (r) => rest(r).toFixed(2)],
  ["total s", (r) => r.seconds.total.toFixed(2)],
  ["PyTorch s", (r) => r.reference?.seconds.total.toFixed(2) ?? "–"],
  ["× PyTorch", (r) => r.reference?.speedup.toFixed(2) ?? "–"],
  ["× PyTorch, fastest runs", (r) => r.reference?.fastestSpeedup.toFixed(2) ?? "–"],
];

/** A row a model. */
export function modelTable(rows: readonly ModelResult[]): string {
  return markdownTable([
    COLUMNS.map(([title]) => title),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ]);
}

/** Starting, moving tensors and writing the checkpoint. */
function rest({ seconds: { total, calibrate, factor, solve } }: ModelResult): number {
  return total - calibrate - factor - solve;
}
