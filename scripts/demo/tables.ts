/** Formats the results of the demo as tables for the terminal. The perplexities are also rendered as a Markdown table. */

import { type Phase, PHASES } from "./phase_clock.ts";
import { textTable } from "../../src/cli/terminal/output.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { type Column, markdownTable, NOT_MEASURED } from "../bench/report/markdown_table.ts";

/** The results of the dense model, or of one way to prune it. Each run is a column of the tables. */
export interface DemoRun {
  readonly title: string;
  readonly perplexity: number;
  /** The pruned layers in order. Empty for the dense model. */
  readonly layers: readonly LayerEvent[];
  readonly seconds: Readonly<Record<Phase, number>>;
}

/** The results of all runs, as they are stored in `bench/results/demo.json`. */
export interface DemoResults {
  readonly runs: readonly DemoRun[];
}

export function perplexityTable(runs: readonly DemoRun[]): string {
  return textTable(["", ...runs.map(({ title }) => title)], [
    ["perplexity", ...runs.map(({ perplexity }) => perplexity.toFixed(2))],
  ]);
}

export function perplexityMarkdown({ runs }: DemoResults): string {
  const columns = runs.map(({ title, perplexity }): Column<string> => [title, () => perplexity.toFixed(2)]);
  return markdownTable([["", (label) => label], ...columns], ["perplexity"]);
}

/** Shows the relative error of each layer in each run that pruned the model. */
export function errorTable(runs: readonly DemoRun[]): string {
  const pruned = runs.filter(({ layers }) => layers.length > 0);
  return textTable(
    ["relative error", ...pruned.map(({ title }) => title)],
    pruned[0].layers.map(({ name }, i) => [
      name.replace(/^model\.decoder\.|\.weight$/g, ""),
      ...pruned.map(({ layers }) => layers[i].report.relative_error?.toExponential(2) ?? NOT_MEASURED),
    ]),
  );
}

export function secondsTable(runs: readonly DemoRun[]): string {
  return textTable(
    ["seconds", ...runs.map(({ title }) => title)],
    PHASES.map((phase) => [
      phase,
      ...runs.map(({ seconds }) => seconds[phase] === 0 ? "" : seconds[phase].toFixed(2)),
    ]),
  );
}
