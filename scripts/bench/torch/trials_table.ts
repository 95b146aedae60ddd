/** The table of the trials, which are the short runs by which the benches choose the setting of a peer. */

import { markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { fastestTrial, type Trial } from "./choose_fastest.ts";

/** The trials for one case, such as a size of layer or a model. */
export interface TrialCase {
  /** The heading of the column. */
  readonly title: string;
  readonly trials: readonly Trial[];
}

/**
 * Renders one row per setting and one column per case. The fewest seconds of each case are in bold type. If nothing was tried, a
 * sentence says so.
 */
export function trialsTable(cases: readonly TrialCase[]): string {
  if (cases.every(({ trials }) => trials.length === 0)) return "No settings were tried in this measurement.";
  const titles = [...new Set(cases.flatMap(({ trials }) => trials.map(({ title }) => title)))];
  return markdownTable<string>([
    ["setting", (title) => title],
    ...cases.map(({ title: heading, trials }) =>
      [`${heading}, s`, (title: string) => cell(trials, title)] as const
    ),
  ], titles);
}

function cell(trials: readonly Trial[], title: string): string {
  const trial = trials.find((trial) => trial.title === title);
  if (!trial) return NOT_MEASURED;
  const seconds = trial.seconds.toPrecision(3);
  return trial === fastestTrial(trials) ? `**${seconds}**` : seconds;
}
