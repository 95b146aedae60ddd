/** The table of the families bench, which shows the perplexity of pruned models of several families. */

import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { type FamilyResult, METHODS, type PrunedRun, TARGETS } from "./bench_family.ts";

/** The results of all models, as they are stored in `results/families.json`. */
export interface FamiliesResults {
  readonly models: readonly FamilyResult[];
}

/** One row of the table: a model that was pruned by one method. */
interface FamilyRow {
  readonly model: FamilyResult;
  readonly method: PrunedRun["method"];
  /** Whether this is the model's first row. Only the first row names the model. */
  readonly isFirst: boolean;
}

const METHOD_TITLES: Readonly<Record<PrunedRun["method"], string>> = {
  sparsegpt: "SparseGPT",
  magnitude: "magnitude",
};

const COLUMNS: readonly Column<FamilyRow>[] = [
  ["model", ({ model, isFirst }) => isFirst ? model.name : ""],
  ["family", ({ model, isFirst }) => isFirst ? model.family : ""],
  ["dense", ({ model, isFirst }) => isFirst ? formatPerplexity(model.dense) : ""],
  ["pruned by", ({ method }) => METHOD_TITLES[method]],
  ...TARGETS.map((target): Column<FamilyRow> => [target, ({ model, method }) => {
    const run = model.runs.find((run) => run.method === method && run.target === target);
    return run ? formatPerplexity(run.perplexity) : NOT_MEASURED;
  }]),
];

/** Renders one row per model and method. Each sparsity target has a column. */
export function familiesTable({ models }: FamiliesResults): string {
  const rows = models.flatMap((model) =>
    METHODS.map((method, i): FamilyRow => ({ model, method, isFirst: i === 0 }))
  );
  return markdownTable(COLUMNS, rows);
}
