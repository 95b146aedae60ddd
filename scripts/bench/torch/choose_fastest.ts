/**
 * Chooses the setting in which a peer is fastest. Every candidate makes a short run before the comparison, and
 * only the fastest one is compared with Pare. The seconds of all candidates are saved with the results.
 */

/** The short run of one candidate. */
export interface Trial {
  /** The name of the candidate. */
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
 * @throws {RangeError} if there are no candidates, or if no candidate has a time
 */
export async function chooseFastest<Candidate>(
  candidates: readonly Candidate[],
  titleOf: (candidate: Candidate) => string,
  time: (candidate: Candidate) => Promise<number>,
): Promise<Choice<Candidate>> {
  const trials: Trial[] = [];
  for (const candidate of candidates) {
    trials.push({ title: titleOf(candidate), seconds: await time(candidate) });
  }
  const best = fastestTrial(trials);
  if (!best) throw new RangeError(`the fastest of ${candidates.length} settings: none has a time`);
  return { best: candidates[trials.indexOf(best)], trials };
}

/** Returns the trial with the fewest seconds. Trials whose seconds are not a number are left out. */
export function fastestTrial(trials: readonly Trial[]): Trial | undefined {
  return trials.filter(({ seconds }) => Number.isFinite(seconds)).toSorted((a, b) =>
    a.seconds - b.seconds
  )[0];
}
