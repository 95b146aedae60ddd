/** Warnings about a run that needs more than the machine has. */

import { bytesText } from "../../../prune/report/format.ts";
import type { DiskUse } from "./resources.ts";

/** Warns if the disk of the output folder has too little space. */
export function diskWarnings({ output, unfinished }: DiskUse, freeBytes: number): string[] {
  const needed = output + unfinished;
  if (needed <= freeBytes) return [];
  return [`the run needs ${bytesText(needed)} on the disk, which has ${bytesText(freeBytes)} free`];
}

/** Warns if the device has too little memory. @param memoryBytes undefined if the device cannot tell */
export function deviceWarnings(neededBytes: number, memoryBytes: number | undefined): string[] {
  if (memoryBytes === undefined || neededBytes <= memoryBytes) return [];
  return [`the run needs ${bytesText(neededBytes)} of the device, which has ${bytesText(memoryBytes)}`];
}
