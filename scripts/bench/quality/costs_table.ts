/** Compares what the methods cost for a real model. The processor time of a run depends less on other programs than its seconds do. */

import { REAL_MODELS } from "../../peers/real_model.ts";
import { markdownTable } from "../report/markdown_table.ts";
import { TARGETS } from "../measure/targets.ts";
import { type Cell, listCells, METHODS } from "./cells.ts";

/** The method beside which the others are compared. */
const BASELINE = "published";

/** The cost of the process that pruned or rounded the model of a cell. */
interface MeasuredCell extends Pick<Cell, "name"> {
  readonly cpuSeconds?: number;
}

/** Renders one row per cell of a real model whose processor time and that of {@link BASELINE} are known. */
export function costsTable(cells: readonly MeasuredCell[]): string {
  const secondsOf = (wanted: string) => cells.find(({ name }) => name === wanted)?.cpuSeconds;
  const models = Object.keys(REAL_MODELS).map((name) => ({ name }));
  const rows = listCells(models).flatMap(({ name, model, calibration, target, method }) => {
    const seconds = secondsOf(name),
      baseline = secondsOf([model.name, calibration, target, BASELINE].join("/"));
    return seconds && baseline
      ? [{ model: model.name, target, method, seconds, ratio: seconds / baseline }]
      : [];
  });
  return markdownTable<typeof rows[number]>([
    ["model", ({ model }) => model],
    ["target", ({ target }) => TARGETS[target].title],
    ["method", ({ method }) => METHODS[method].title],
    ["processor time (s)", ({ seconds }) => seconds.toFixed(0)],
    [`beside ${METHODS[BASELINE].title}`, ({ ratio }) => `${ratio.toFixed(2)} ×`],
  ], rows);
}
