/** The tables of the solvers bench on whole models. */

import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../../report/markdown_table.ts";
import { findCell, type ModelResult } from "./bench_models.ts";
import { GPTQ, JOINT_TARGETS, METHODS, ROUNDING_TARGETS, type Target, TARGETS } from "./cells.ts";
import { errorRatios } from "./summary.ts";

/** The results of all models, as they are stored in `results/solvers.json`. */
export interface SolverResults {
  readonly models: readonly ModelResult[];
}

/** A row of a table: one method, on one model or on several. */
interface Row {
  readonly title: string;
  readonly models: readonly ModelResult[];
  readonly method: string;
  /** Whether this is the first row with this title. Only the first row shows the title. */
  readonly isFirst: boolean;
}

/** Whether a model is one of the three test models that were trained on State of the Union addresses. */
export function isTestModel({ name }: ModelResult): boolean {
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

/**
 * Renders the perplexity of the pruned models. The perplexity before pruning stands beside the name of the
 * model.
 */
export function perplexityTable({ models }: SolverResults): string {
  const rows = models.flatMap((model) => rowsOf(`${model.name}, ${formatPerplexity(model.dense)}`, [model]));
  return methodTable(rows, ({ models: [model], method }, target) => {
    const perplexity = findCell(model, method, target)?.perplexity;
    return typeof perplexity === "number" ? formatPerplexity(perplexity) : undefined;
  });
}

/** Renders the seconds that the factorisations, solves and refits of whole models took. */
export function secondsTable({ models }: SolverResults): string {
  const rows = models.flatMap((model) => rowsOf(model.name, [model]));
  return methodTable(
    rows,
    ({ models: [model], method }, target) => findCell(model, method, target)?.solveSeconds?.toFixed(2),
  );
}

/**
 * Renders the perplexity of models that are pruned and rounded in one pass, and of models that are only
 * rounded.
 */
export function roundingTable({ models }: SolverResults): string {
  const rows = [...JOINT_TARGETS, ...ROUNDING_TARGETS].flatMap(({ title: target }) =>
    [...METHODS.map(({ title }) => title), GPTQ].filter((method) =>
      models.some((model) => findCell(model, method, target))
    ).map((method) => ({ method, target }))
  );
  const columns: Column<{ method: string; target: string }>[] = [
    ["method", ({ method }) => method],
    ["target", ({ target }) => target],
    ...models.map((
      model,
    ): Column<{ method: string; target: string }> => [model.name, ({ method, target }) => {
      const perplexity = findCell(model, method, target)?.perplexity;
      return typeof perplexity === "number" ? formatPerplexity(perplexity) : NOT_MEASURED;
    }]),
  ];
  return markdownTable(columns, rows);
}

function rowsOf(title: string, models: readonly ModelResult[]): Row[] {
  return METHODS.map(({ title: method }, i) => ({ title, models, method, isFirst: i === 0 }));
}

function methodTable(
  rows: readonly Row[],
  cell: (row: Row, target: Target["title"]) => string | undefined,
): string {
  const columns: Column<Row>[] = [
    ["model", ({ title, isFirst }) => isFirst ? title : ""],
    ["method", ({ method }) => method],
    ...TARGETS.map(({ title }): Column<Row> => [title, (row) => cell(row, title) ?? NOT_MEASURED]),
  ];
  return markdownTable(columns, rows);
}

/** Formats a ratio with three decimals, or with one decimal from 10 on. */
function formatRatio(ratio: number): string {
  return ratio < 10 ? ratio.toFixed(3) : ratio.toFixed(1);
}
