/** Divides the windows of a calibration into parts, whose statistics are summed on their own (see `PartialSums`). */

import { PART_WINDOWS } from "../protocol/limits.ts";

/** The fitted windows of a calibration, and those that are held out. */
export interface WindowKinds {
  readonly windows: readonly unknown[];
  readonly validationWindows?: readonly unknown[];
}

/** Returns the number of windows of each part, first those of the fitted windows. A part has windows of one kind only. */
export function partSizes({ windows, validationWindows = [] }: WindowKinds): number[] {
  return [windows, validationWindows].flatMap(({ length }) =>
    Array.from(
      { length: Math.ceil(length / PART_WINDOWS) },
      (_, part) => Math.min(PART_WINDOWS, length - part * PART_WINDOWS),
    )
  );
}

/**
 * Divides windows over hosts. Each host gets whole parts of the fitted windows, and the last host all held-out windows.
 * @param hosts the number of hosts. If there are fewer parts, only the first hosts get windows
 * @returns the windows of each host, in order
 */
export function divideOverHosts<Window>(
  windows: readonly Window[],
  validationWindows: readonly Window[],
  hosts: number,
): { readonly windows: readonly Window[]; readonly validationWindows: readonly Window[] }[] {
  const parts = Math.ceil(windows.length / PART_WINDOWS), count = Math.min(hosts, parts);
  const all = windows.length + validationWindows.length;
  // The host before boundary i has about i/count of all windows before its end, and each host has at least one part.
  const boundaries = Array.from({ length: count + 1 }, (_, i) => {
    const even = Math.round(i / count * all / PART_WINDOWS);
    return i === count ? windows.length : PART_WINDOWS * Math.min(Math.max(even, i), parts - (count - i));
  });
  return Array.from({ length: count }, (_, i) => ({
    windows: windows.slice(boundaries[i], boundaries[i + 1]),
    validationWindows: i === count - 1 ? validationWindows : [],
  }));
}
