/** The tables of the bench `solvers`. */

import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import {
  BASELINE,
  errorRatios,
  findCell,
  METHOD_TITLES,
  type ModelResult,
  PRUNING,
  PRUNING_METHODS,
  type SolverResults,
  WITH_ROUNDING,
} from "./cells.ts";

/** A row of a table: one method, on one model or on several. */
interface Row {
  readonly title: string;
  readonly models: readonly ModelResult[];
  readonly method: string;
}

/** Whether a model is one of the three test models that were trained on State of the Union addresses. */
function isTestModel({ name }: ModelResult): boolean {
  return name.endsWith("-sotu");
}

/**
 * Renders the errors of each method. The error of each layer is divided by SparseGPT's error of the same
 * layer. A cell shows the geometric mean of these ratios, and the largest ratio in parentheses. The first
 * rows are about all layers of the test models together.
 */
export function errorTable({ models }: SolverResults): string {
  const together = models.filter(isTestModel);
  const rows = [
    ...rowsOf(`the ${together.length} test models`, together),
    ...models.flatMap((model) => rowsOf(model.name, [model])),
  ];
  return methodTable(rows, ({ models, method }, target) => {
    const ratios = errorRatios(models, method, target);
    return ratios && `${formatRatio(ratios.geometricMean)} (${formatRatio(ratios.worst.ratio)})`;
  });
}

/** Renders the perplexity of the pruned models. The perplexity before pruning stands beside the name of the model. */
export function perplexityTable({ models }: SolverResults): string {
  const rows = models.flatMap((model) => rowsOf(`${model.name}, ${formatPerplexity(model.dense)}`, [model]));
  return methodTable(rows, ({ models: [model], method }, target) => perplexityCell(model, method, target));
}

/** Renders the perplexity of models that are pruned and rounded in one pass, and of models that are only rounded. */
export function roundingTable({ models }: SolverResults): string {
  const rows = WITH_ROUNDING.flatMap(({ title: target }) =>
    METHOD_TITLES.filter((method) => models.some((model) => findCell(model, method, target))).map((
      method,
    ) => ({ method, target }))
  );
  return markdownTable([
    ["method", ({ method }) => method],
    ["target", ({ target }) => target],
    ...models.map((model): Column<typeof rows[number]> => [
      model.name,
      ({ method, target }) => perplexityCell(model, method, target),
    ]),
  ], rows);
}

function perplexityCell(model: ModelResult, method: string, target: string): string {
  const perplexity = findCell(model, method, target)?.perplexity;
  return typeof perplexity === "number" ? formatPerplexity(perplexity) : NOT_MEASURED;
}

function rowsOf(title: string, models: readonly ModelResult[]): Row[] {
  return PRUNING_METHODS.map((method) => ({ title, models, method }));
}

function methodTable(
  rows: readonly Row[],
  cell: (row: Row, target: string) => string | undefined,
): string {
  const columns: Column<Row>[] = [
    ["model", ({ title }) => title],
    ["method", ({ method }) => method],
    ...PRUNING.map(({ title }): Column<Row> => [title, (row) => cell(row, title) ?? NOT_MEASURED]),
  ];
  return markdownTable(columns, rows, 1);
}

/** Formats a ratio with three decimals, or with one decimal from 10 on. */
function formatRatio(ratio: number): string {
  return ratio < 10 ? ratio.toFixed(3) : ratio.toFixed(1);
}

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
    ...models.map((model): Column<string> => [
      `${model.name}, ${TARGET}`,
      (method) => perplexityCell(model, method, TARGET),
    ]),
    ["× SparseGPT's time", (method) => {
      const seconds = solveSeconds(models, method), reference = solveSeconds(models, BASELINE);
      return seconds === undefined || !reference ? NOT_MEASURED : formatMultiple(seconds / reference);
    }],
  ];
  return markdownTable(columns, PRUNING_METHODS);
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

function formatMultiple(multiple: number): string {
  return multiple < 9.95 ? multiple.toFixed(1) : multiple.toFixed(0);
}
