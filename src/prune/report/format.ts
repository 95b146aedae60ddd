/** Formats numbers for people: sizes, fractions, durations and counts. */

const UNITS = ["KB", "MB", "GB", "TB"];

/** Formats a number of bytes in decimal units: `512 B`, `11.2 MB`. */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000, unit = 0;
  for (; value >= 999.95 && unit < UNITS.length - 1; unit++) value /= 1000;
  return `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** Formats a fraction from 0 to 1 as a percentage: `37.4 %`. */
export function shareText(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Formats a duration in seconds: `8 ms`, `0.42 s`, `83 s`, `1 h 5 min`. */
export function secondsText(seconds: number): string {
  if (seconds < 0.1) return `${(1000 * seconds).toFixed(0)} ms`;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Formats a count: `1,769,472`. */
export function countText(count: number): string {
  return count.toLocaleString("en");
}

/** Below this a KL divergence, in nats, is a rounding of the logits, which can even be negative. */
const LEAST_DIVERGENCE = 1e-6;

/** Formats a KL divergence in nats with three significant digits. */
export function divergenceText(divergence: number): string {
  return Math.abs(divergence) < LEAST_DIVERGENCE ? "0" : divergence.toPrecision(3);
}

/** Formats a number with four significant digits. Formats null, which means that there is no value, as a dash. */
export function numberText(value: number | null): string {
  return value === null ? "–" : value.toPrecision(4);
}
