/**
 * The results file of the large bench. A new run is added to the earlier ones, because some runs take hours
 * and are rarely repeated.
 */

import { readResultsIfPresent, writeResults } from "../report/results_file.ts";
import type { LargeResult } from "./bench_large.ts";

/** The results of one layer. */
export type LargeRun = LargeResult & {
  /** When the layer was measured, in ISO 8601. */
  readonly date: string;
  /** Peak resident memory of the process, which solved only this layer. Absent if it could not be measured. */
  readonly peakMemoryBytes?: number;
};

/**
 * The layers of all runs, as they are stored in `results/large.json`. The file's `adapter` lists the adapters of all layers.
 */
export interface LargeResults {
  readonly layers: readonly LargeRun[];
}

/**
 * Returns `runs` with `run` added, ordered by backend and size. An earlier run of the same size on the same adapter is
 * removed.
 */
export function withRun(runs: readonly LargeRun[], run: LargeRun): LargeRun[] {
  const key = ({ adapter, rows, cols }: LargeRun) => `${adapter} ${rows} ${cols}`;
  return [...runs.filter((other) => key(other) !== key(run)), run].sort((a, b) =>
    a.backend.localeCompare(b.backend) || a.cols - b.cols || a.rows - b.rows
  );
}

/** Adds `run` to `file`, which is created if it does not exist. @returns the new contents */
export async function addRun(file: string | URL, run: LargeRun): Promise<LargeResults> {
  const earlier = await readResultsIfPresent<LargeResults>(file);
  const layers = withRun(earlier?.layers ?? [], run);
  const distinct = (name: "backend" | "adapter") =>
    [...new Set(layers.map((layer) => layer[name]))].join("; ");
  const device = { backend: distinct("backend"), adapter: distinct("adapter") };
  await writeResults<LargeResults>(file, device, { layers }, run.date);
  return { layers };
}
