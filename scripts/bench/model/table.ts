/** The table of the model bench, which compares `pare prune` of whole models with PyTorch. */

import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { ModelTiming, ReferenceForm } from "./bench_model.ts";

/** The results of one run, as they are stored in `results/model.json`. */
export interface ModelTimings {
  readonly models: readonly ModelTiming[];
}

const COLUMNS: readonly Column<ModelTiming>[] = [
  ["model", (r) => r.title],
  ["layers", (r) => String(r.layers)],
  ["windows × tokens", (r) => `${r.windows} × ${r.seqlen}`],
  ["calibrate s", (r) => r.seconds.calibrate.toFixed(2)],
  ["factor s", (r) => r.seconds.factor.toFixed(2)],
  ["solve s", (r) => r.seconds.solve.toFixed(2)],
  ["rest s", (r) => restSeconds(r).toFixed(2)],
  ["total s", (r) => r.seconds.total.toFixed(2)],
  ...referenceColumns("published"),
  ...referenceColumns("shared"),
];

/** Renders one row per model. */
export function modelTable({ models }: ModelTimings): string {
  return markdownTable(COLUMNS, models);
}

function referenceColumns(form: ReferenceForm): Column<ModelTiming>[] {
  return [
    [`${form} s`, (r) => r.references[form]?.seconds.total.toFixed(2) ?? NOT_MEASURED],
    [`× ${form}`, (r) => r.references[form]?.speedup.toFixed(2) ?? NOT_MEASURED],
  ];
}

/** The seconds that belong to no other column: starting, moving tensors, and writing the checkpoint. */
function restSeconds({ seconds: { total, calibrate, factor, solve } }: ModelTiming): number {
  return total - calibrate - factor - solve;
}
