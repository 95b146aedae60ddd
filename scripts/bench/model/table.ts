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
  ["published s", (r) => r.references.published?.seconds.total.toFixed(2) ?? "–"],
  ["× published", (r) => r.references.published?.speedup.toFixed(2) ?? "–"],
  ["shared s", (r) => r.references.shared?.seconds.total.toFixed(2) ?? "–"],
  ["× shared", (r) => r.references.shared?.speedup.toFixed(2) ?? "–"],
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
