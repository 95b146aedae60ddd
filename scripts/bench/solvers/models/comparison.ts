/**
 * Renders the table in `src/solvers/README.md`, which compares the solvers with each other on the test
 * models. That table is a summary of the tables in `tables.ts`.
 */

import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../../report/markdown_table.ts";
import { findCell, type ModelResult } from "./bench_models.ts";
import { BASELINE, METHODS } from "./cells.ts";
import { errorRatios } from "./summary.ts";
import { isTestModel, type SolverResults } from "./tables.ts";

/** The targets whose errors the table shows. */
const ERROR_TARGETS = ["50 %", "70 %", "2:4"];
/** The target whose perplexities and seconds the table shows. */
const TARGET = "50 %";

/**
 * Renders one row per method. The error of each layer is divided by SparseGPT's error of the same layer, and
 * the row shows the geometric mean of these ratios. It also shows the perplexities, and the seconds of
 * factorisations, solves and refits divided by SparseGPT's seconds.
 */
export function comparisonTable(results: SolverResults): string {
  const models = results.models.filter(isTestModel);
  const columns: Column<string>[] = [
    ["method", (method) => method],
    ...ERROR_TARGETS.map((target): Column<string> => [
      `error, ${target}`,
      (method) => errorRatios(models, method, target)?.geometricMean.toFixed(2) ?? NOT_MEASURED,
    ]),
    ...models.map((model): Column<string> => [`${model.name}, ${TARGET}`, (method) => {
      const perplexity = findCell(model, method, TARGET)?.perplexity;
      return typeof perplexity === "number" ? formatPerplexity(perplexity) : NOT_MEASURED;
    }]),
    ["× SparseGPT's time", (method) => {
      const seconds = solveSeconds(models, method), reference = solveSeconds(models, BASELINE);
      return seconds === undefined || !reference ? NOT_MEASURED : formatMultiple(seconds / reference);
    }],
  ];
  return markdownTable(columns, METHODS.map(({ title }) => title));
}

/** Adds up the seconds of one method on all models. Returns undefined if a model was not measured. */
function solveSeconds(models: readonly ModelResult[], method: string): number | undefined {
  let total = 0;
  for (const model of models) {
    const seconds = findCell(model, method, TARGET)?.solveSeconds;
    if (typeof seconds !== "number") return undefined;
    total += seconds;
  }
  return total;
}

/** Formats a multiple with one decimal, or without decimals from 10 on. */
function formatMultiple(multiple: number): string {
  return multiple < 9.95 ? multiple.toFixed(1) : multiple.toFixed(0);
}
