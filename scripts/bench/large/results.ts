/** The results file of the large bench: a layer is added to those measured before, since some take hours and none is run twice lightly. */

import type { Measured } from "../results_file.ts";
import type { LargeResult } from "./bench_large.ts";

/** A layer with where and when it was measured. */
export type LargeRun = LargeResult & Pick<Measured, "date"> & {
  /** Peak resident memory of the process, which solved this layer alone. */
  readonly peakMemoryBytes?: number;
};

/** `adapter` names every adapter in `layers`. */
export interface LargeFile extends Measured {
  readonly layers: readonly LargeRun[];
}

/** `runs` with `run` in place of an earlier one of the same size on the same adapter, by backend and size. */
export function withRun(runs: readonly LargeRun[], run: LargeRun): LargeRun[] {
  const key = ({ adapter, rows, cols }: LargeRun) => `${adapter} ${rows} ${cols}`;
  return [...runs.filter((other) => key(other) !== key(run)), run].sort((a, b) =>
    a.backend.localeCompare(b.backend) || a.cols - b.cols || a.rows - b.rows
  );
}

/** Adds `run` to the file at `path`, which is made if need be. */
export async function addRun(
  path: string | URL,
  run: LargeRun,
  { machine }: Pick<Measured, "machine">,
): Promise<LargeFile> {
  const layers = withRun(await readRuns(path), run);
  const all = (name: "backend" | "adapter") => [...new Set(layers.map((layer) => layer[name]))].join("; ");
  const file = { date: run.date, machine, backend: all("backend"), adapter: all("adapter"), layers };
  await Deno.writeTextFile(path, JSON.stringify(file, null, 2) + "\n");
  return file;
}

async function readRuns(path: string | URL): Promise<readonly LargeRun[]> {
  try {
    return (JSON.parse(await Deno.readTextFile(path)) as LargeFile).layers;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
