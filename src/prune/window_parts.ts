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
 * Returns the boundaries of the shares of hosts: share i has the fitted windows from boundary i to boundary i + 1. Each share
 * has whole parts, and the last one also has all held-out windows.
 * @param windows the number of fitted windows
 * @param heldOut the number of held-out windows
 * @param hosts the number of hosts. If there are fewer parts, there is one share per part
 */
export function shareBoundaries(windows: number, heldOut: number, hosts: number): number[] {
  const parts = Math.ceil(windows / PART_WINDOWS), count = Math.min(hosts, parts);
  // The host before boundary i has about i/count of all windows before its end, and each host has at least one part.
  return Array.from({ length: count + 1 }, (_, i) => {
    const even = Math.round(i / count * (windows + heldOut) / PART_WINDOWS);
    return i === count ? windows : PART_WINDOWS * Math.min(Math.max(even, i), parts - (count - i));
  });
}

/** Divides windows over hosts by `shareBoundaries`. Returns the windows of each host, in order. */
export function divideOverHosts<Window>(
  windows: readonly Window[],
  validationWindows: readonly Window[],
  hosts: number,
): { readonly windows: readonly Window[]; readonly validationWindows: readonly Window[] }[] {
  const boundaries = shareBoundaries(windows.length, validationWindows.length, hosts),
    [, ...ends] = boundaries;
  return ends.map((end, i) => ({
    windows: windows.slice(boundaries[i], end),
    validationWindows: i === ends.length - 1 ? validationWindows : [],
  }));
}
