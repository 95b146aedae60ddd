/** Warnings about a run that can be given before it starts. */

import { needsNoStatistics } from "../../../protocol/methods.ts";
import type { SizedLayer } from "../../../prune/block_plan.ts";
import { bytesText, countText } from "../../../prune/report/format.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import type { DiskUse } from "./resources.ts";

/** With fewer tokens per column, the statistics of a layer are noisy. */
const TOKENS_PER_COLUMN = 3;

/** Warns if the calibration has few tokens for the widest layer. */
export function tokenWarnings(
  { windows, queryOf }: Pick<FolderJob, "windows" | "queryOf">,
  layers: readonly SizedLayer[],
): string[] {
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  const columns = Math.max(
    0,
    ...layers.filter(({ name }) => !needsNoStatistics(queryOf(name))).map(({ cols }) => cols),
  );
  if (tokens >= TOKENS_PER_COLUMN * columns) return [];
  return [
    `${countText(tokens)} tokens are fewer than three times ${
      countText(columns)
    } inputs: take more --samples`,
  ];
}

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
