/** Repeats a measurement until it has been made often enough, or until it has taken long enough. */

/** The limits of a repeated measurement. */
interface RepeatLimits {
  readonly repeat: number;
  /** No further measurement starts after this many seconds. The first one is always made. */
  readonly budgetSeconds: number;
}

/** Calls `measure` at least once and at most `repeat` times, and starts no further call after `budgetSeconds`. */
export async function repeatWithin<T>(
  { repeat, budgetSeconds }: RepeatLimits,
  measure: () => Promise<T>,
  now: () => number = () => performance.now() / 1000,
): Promise<T[]> {
  const results: T[] = [], started = now();
  do results.push(await measure()); while (results.length < repeat && now() - started < budgetSeconds);
  return results;
}
