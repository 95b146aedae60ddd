/**
 * Chooses the setting in which a peer is fastest. Before the comparison, each candidate makes a short run, which is called its
 * trial. Only the fastest candidate is compared with Pare. The seconds of all trials are saved with the results.
 */

import { markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";

export interface Trial {
  readonly title: string;
  readonly seconds: number;
}

/** The fastest candidate, and the trials of all. */
export interface Choice<Candidate> {
  readonly best: Candidate;
  readonly trials: readonly Trial[];
}

/**
 * Times the candidates one after the other, and returns the one with the fewest seconds.
 * @param time returns the seconds of one candidate
 * @param log is called after each trial
 * @throws {RangeError} if there are no candidates, or if no candidate has a time
 */
export async function chooseFastest<Candidate>(
  candidates: readonly Candidate[],
  titleOf: (candidate: Candidate) => string,
  time: (candidate: Candidate) => Promise<number>,
  log: (trial: Trial) => void = printTrial,
): Promise<Choice<Candidate>> {
  const trials: Trial[] = [];
  for (const candidate of candidates) {
    const trial = { title: titleOf(candidate), seconds: await time(candidate) };
    trials.push(trial);
    log(trial);
  }
  const best = fastestTrial(trials);
  if (!best) throw new RangeError(`the fastest of ${candidates.length} settings: none has a time`);
  return { best: candidates[trials.indexOf(best)], trials };
}

function printTrial({ title, seconds }: Trial): void {
  console.error(`trial of ${title}: ${seconds.toPrecision(3)} s`);
}

/** Returns the trial with the fewest seconds. Trials whose seconds are not a number are left out. */
export function fastestTrial(trials: readonly Trial[]): Trial | undefined {
  return trials.filter(({ seconds }) => Number.isFinite(seconds)).toSorted((a, b) =>
    a.seconds - b.seconds
  )[0];
}

/** The trials for one case, such as a size of layer or a model. */
export interface TrialCase {
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
