/** The table of the model bench, which compares `pare prune` of whole models with PyTorch. */

import { formatProducts } from "../measure/matrix_products.ts";
import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { describeBuilds, type TorchBuild } from "../torch/torch_builds.ts";
import { trialsTable } from "../torch/trials_table.ts";
import type { ModelTiming, ModelTrials, ReferenceForm } from "./bench_model.ts";

/** The results of one run, as they are stored in `results/model.json`. */
export interface ModelTimings {
  /** One entry for each model and each way to multiply matrices. */
  readonly models: readonly ModelTiming[];
  /** The builds of PyTorch that were tried. */
  readonly builds?: readonly TorchBuild[];
  /** The short runs that chose the build and the setting of PyTorch for each model. */
  readonly trials?: readonly { readonly title: string; readonly forms: ModelTrials }[];
}

const COLUMNS: readonly Column<ModelTiming>[] = [
  ["model", (r) => r.title],
  ["products", formatProducts],
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

/** Renders one row per model and way to multiply matrices. */
export function modelTable({ models }: Pick<ModelTimings, "models">): string {
  return markdownTable(COLUMNS, models);
}

/**
 * Renders one row per build and setting of PyTorch, and one column per model and form: the seconds of the short
 * runs that chose the setting. A line below the table names the builds.
 */
export function modelSettingsTable({ trials = [], builds = [] }: ModelTimings): string {
  const cases = trials.flatMap(({ title, forms }) =>
    Object.entries(forms).map(([form, trials]) => ({ title: `${title}, ${form}`, trials }))
  );
  return `${trialsTable(cases)}\n\n${describeBuilds(builds)}`;
}

function referenceColumns(form: ReferenceForm): Column<ModelTiming>[] {
  return [
    [`${form} s`, (r) => r.references[form]?.seconds.total.toFixed(2) ?? NOT_MEASURED],
    [`setting of ${form}`, (r) => r.references[form]?.setting ?? NOT_MEASURED],
    [`× ${form}`, (r) => r.references[form]?.speedup.toFixed(2) ?? NOT_MEASURED],
  ];
}

/** The seconds that belong to no other column: starting, moving tensors, and writing the checkpoint. */
function restSeconds({ seconds: { total, calibrate, factor, solve } }: ModelTiming): number {
  return total - calibrate - factor - solve;
}
