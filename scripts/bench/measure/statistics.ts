/** Order statistics of short lists, such as the timings of a bench. */

/** The middle value, or the mean of the two middle values. NaN for an empty list. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The smallest value such that at least `percent` % of the values are at most as large (nearest rank). NaN for an empty list. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * percent / 100) - 1)] ?? NaN;
}

/**
 * Returns the first of several results of one shape with each number replaced by the median, also in nested objects. Other values
 * are those of the first result.
 */
export function medians<Result extends object>(results: readonly Result[]): Result {
  const entries = Object.entries(results[0]).map(([key, value]) => {
    const values = results.map((result) => result[key as keyof Result]);
    if (typeof value === "number") return [key, median(values as number[])];
    return [key, typeof value === "object" && value !== null ? medians(values as object[]) : value];
  });
  return Object.fromEntries(entries);
}
