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
 * Divides windows over hosts. Returns the windows of each host, in order. Each host has whole parts of the fitted windows, and the
 * last one also has all held-out windows.
 * @param hosts the number of hosts. If there are fewer parts, there is one share per part
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
  const [, ...ends] = boundaries;
  return ends.map((end, i) => ({
    windows: windows.slice(boundaries[i], end),
    validationWindows: i === ends.length - 1 ? validationWindows : [],
  }));
}
