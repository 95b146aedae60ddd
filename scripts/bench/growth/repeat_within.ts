/** Repeats a measurement until it has been made often enough, or until it has taken long enough. */

/** Limits of the repetitions. */
interface RepeatLimits {
  readonly repeat: number;
  /** No repetition starts after so many seconds. At least one is always made. */
  readonly budgetSeconds: number;
}

/** Calls `measure` at least once, at most `repeat` times, and not again after `budgetSeconds`. */
export async function repeatWithin<T>(
  { repeat, budgetSeconds }: RepeatLimits,
  measure: () => Promise<T>,
  now: () => number = () => performance.now() / 1000,
): Promise<T[]> {
  const results: T[] = [], started = now();
  do results.push(await measure()); while (results.length < repeat && now() - started < budgetSeconds);
  return results;
}
