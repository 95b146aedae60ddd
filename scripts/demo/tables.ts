/** The demo's results as tables. */

import { textTable } from "../../src/cli/terminal/text_table.ts";
import type { LayerEvent } from "../../src/client/events.ts";
import { type Phase, PHASES } from "./phases.ts";

/** One column of the results: a way to prune, or the dense model. */
export interface Run {
  readonly title: string;
  readonly perplexity: number;
  readonly layers: readonly LayerEvent[];
  readonly seconds: Readonly<Record<Phase, number>>;
}

/** The perplexity of each run. */
export function perplexityTable(runs: readonly Run[]): string {
  return textTable(["", ...runs.map(({ title }) => title)], [
    ["perplexity", ...runs.map(({ perplexity }) => perplexity.toFixed(2))],
  ]);
}

/** The relative error of each layer under each run. */
export function errorTable(runs: readonly Run[]): string {
  const pruned = runs.filter(({ layers }) => layers.length > 0);
  return textTable(
    ["relative error", ...pruned.map(({ title }) => title)],
    pruned[0].layers.map(({ name }, i) => [
      name.replace(/^model\.decoder\.|\.weight$/g, ""),
      ...pruned.map(({ layers }) => layers[i].report.relative_error?.toExponential(2) ?? "–"),
    ]),
  );
}

/** The time of each phase under each run. */
export function phaseTable(runs: readonly Run[]): string {
  return textTable(
    ["seconds", ...runs.map(({ title }) => title)],
    PHASES.map((phase) => [
      phase,
      ...runs.map(({ seconds }) => seconds[phase] === 0 ? "" : seconds[phase].toFixed(2)),
    ]),
  );
}
