/**
 * The table of the allocation bench. It shows the perplexity of models that were pruned with different
 * allocations, which are rules that distribute the zeros over the layers.
 */

import { ALLOCATIONS } from "../../../src/prune/allocation/allocation.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { type AllocationResult, type AllocationRun, SPARSITIES } from "./bench_allocation.ts";

/** The results of all models, as they are stored in `results/allocation.json`. */
export interface AllocationResults {
  readonly models: readonly AllocationResult[];
}

/** One row of the table: a model that was pruned with one allocation. */
interface AllocationRow {
  readonly model: AllocationResult;
  readonly allocation: AllocationRun["allocation"];
  /** Whether this is the model's first row. Only the first row names the model. */
  readonly isFirst: boolean;
}

const COLUMNS: readonly Column<AllocationRow>[] = [
  ["model", ({ model, isFirst }) => isFirst ? model.name : ""],
  ["dense", ({ model, isFirst }) => isFirst ? formatPerplexity(model.dense) : ""],
  ["allocation", ({ allocation }) => allocation],
  ...SPARSITIES.map((sparsity): Column<AllocationRow> => [
    `${100 * sparsity} %`,
    ({ model, allocation }) => {
      const run = model.runs.find((run) => run.allocation === allocation && run.sparsity === sparsity);
      return run ? formatPerplexity(run.perplexity) : NOT_MEASURED;
    },
  ]),
  ["s per run", ({ model, allocation }) => {
    const runs = model.runs.filter((run) => run.allocation === allocation);
    return (runs.reduce((sum, { seconds }) => sum + seconds, 0) / runs.length).toFixed(1);
  }],
];

/** Renders one row per model and allocation. The perplexities at each sparsity have a column. */
export function allocationTable({ models }: AllocationResults): string {
  const rows = models.flatMap((model) =>
    ALLOCATIONS.map((allocation, i): AllocationRow => ({ model, allocation, isFirst: i === 0 }))
  );
  return markdownTable(COLUMNS, rows);
}
