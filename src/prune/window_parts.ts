/** Divides the windows of a calibration into parts. The statistics of each part are summed separately (see `PartialSums`). */

import { PART_WINDOWS } from "../protocol/limits.ts";

/** The fitted and the held-out windows of a calibration. */
export interface WindowKinds {
  readonly windows: readonly unknown[];
  readonly validationWindows?: readonly unknown[];
}

/** Returns the number of windows of each part. The parts of the fitted windows come before the parts of the held-out windows. */
export function partSizes({ windows, validationWindows = [] }: WindowKinds): number[] {
  return [windows, validationWindows].flatMap(({ length }) =>
    Array.from(
      { length: Math.ceil(length / PART_WINDOWS) },
      (_, part) => Math.min(PART_WINDOWS, length - part * PART_WINDOWS),
    )
  );
}

/**
 * Divides windows over hosts. Returns the windows of each host, in order. Each host gets whole parts of the fitted windows. The
 * last host also gets all held-out windows.
 * @param hosts the number of hosts. If there are fewer parts than hosts, only as many hosts as parts get windows
 */
export function divideOverHosts<Window>(
  windows: readonly Window[],
  validationWindows: readonly Window[],
  hosts: number,
): { readonly windows: readonly Window[]; readonly validationWindows: readonly Window[] }[] {
  const parts = Math.ceil(windows.length / PART_WINDOWS), count = Math.min(hosts, parts);
  const all = windows.length + validationWindows.length;
  // The first i hosts get about i/count of all windows, and each host gets at least one part.
  const boundaries = Array.from({ length: count + 1 }, (_, i) => {
    const even = Math.round(i / count * all / PART_WINDOWS);
    return i === count ? windows.length : PART_WINDOWS * Math.min(Math.max(even, i), parts - (count - i));
  });
  const [, ...ends] = boundaries;
  return ends.map((end, i) => ({
    windows: windows.slice(boundaries[i], end),
    validationWindows: i === ends.length - 1 ? validationWindows : [],
  }));
}
