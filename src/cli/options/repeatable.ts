/** Collects the values of an option that may be repeated. */

/** Returns the earlier values of the option followed by `value`. Commander calls it for each use of the option. */
export function appendValue(value: string, earlier: readonly string[]): string[] {
  return [...earlier, value];
}
