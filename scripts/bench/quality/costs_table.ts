/** Compares what the methods cost. The processor time of a run depends less on other programs than its seconds do. */

import { markdownTable } from "../report/markdown_table.ts";
import { METHODS } from "./cells.ts";

/** The method beside which the others are compared. */
const BASELINE = "published";

/** A cell of the bench, with the cost of the process that pruned or rounded the model. */
interface MeasuredCell {
  /** MODEL/CALIBRATION/TARGET/METHOD */
  readonly name: string;
  readonly cpuSeconds?: number;
}

/** Renders one row per cell whose processor time and that of {@link BASELINE} are known. */
export function costsTable(cells: readonly MeasuredCell[]): string {
  const rows = cells.flatMap(({ name, cpuSeconds }) => {
    const [model, calibration, target, method] = name.split("/");
    const baseline = [model, calibration, target, BASELINE].join("/");
    const beside = cells.find((cell) => cell.name === baseline)?.cpuSeconds;
    return cpuSeconds && beside ? [{ model, target, method, cpuSeconds, ratio: cpuSeconds / beside }] : [];
  });
  return markdownTable<typeof rows[number]>([
    ["model", ({ model }) => model],
    ["target", ({ target }) => target],
    ["method", ({ method }) => METHODS[method].title],
    ["processor time (s)", ({ cpuSeconds }) => cpuSeconds.toFixed(0)],
    [`beside ${METHODS[BASELINE].title}`, ({ ratio }) => `${ratio.toFixed(2)} ×`],
  ], rows);
}
