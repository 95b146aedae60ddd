/** Numbers as people read them. */

/** Seconds: `0.42 s`, `83 s`. */
export function formatSeconds(seconds: number): string {
  return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s`;
}

/** A relative error: `0.01234`, or a dash where it was not computed. */
export function formatError(error: number | null): string {
  return error === null ? "–" : error.toPrecision(4);
}
