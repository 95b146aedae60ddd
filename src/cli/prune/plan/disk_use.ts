/** Computes the disk space of a run from the plan of its result. */

import { countPlannedBytes } from "../../../model/checkpoint/write/write_plan.ts";
import type { WorkFileSystem } from "../../../base/files/file_system.ts";
import type { ForwardPlan } from "../../../model/forward.ts";
import type { BlockPlan } from "../../../prune/block_plan.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import { planOutput } from "../../../prune/run/plan_output.ts";

/** The bytes that a run needs on the disk. */
export interface DiskUse {
  /** The result. */
  readonly output: number;
  /** The files of the unfinished run, which are removed at the end. */
  readonly unfinished: number;
}

/** Returns the disk space of a run. The report files, which have about a kilobyte for each layer, are not counted. */
export async function diskUse(
  job: FolderJob,
  { statesBytes }: ForwardPlan,
  { lastBlock }: BlockPlan,
  fs: WorkFileSystem,
): Promise<DiskUse> {
  const output = await countPlannedBytes(planOutput(job, fs).plan, fs, job.reportFileNames);
  // The hidden states before a block are kept until those before the next block are on the disk.
  return { output, unfinished: lastBlock > 0 ? 2 * statesBytes : 0 };
}
