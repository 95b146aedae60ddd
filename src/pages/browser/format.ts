/** Formats numbers and times for people. */

/** Formats a number with at most `digits` significant digits. */
export function formatNumber(value: number, digits = 3): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(digits - 1).replace("e+", "e");
  return size >= 10 ** digits
    ? Math.round(value).toLocaleString("en")
    : String(Number(value.toPrecision(digits)));
}

export function formatShare(share: number): string {
  return `${Number((100 * share).toFixed(1))} %`;
}

export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${units[power]}`;
}

/** Formats a duration in seconds. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** Returns the start of an id, which distinguishes a few hosts or jobs. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** Formats the time since an event. */
export function formatAge(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  return seconds < 1 ? "now" : `${formatSeconds(seconds)} ago`;
}
