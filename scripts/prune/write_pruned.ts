/** Writes a pruned copy of a checkpoint without a journal. If that fails, no partial copy remains. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openCopy } from "../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../src/model/checkpoint/write/write_plan.ts";
import type { Destination } from "../../src/prune/run/job.ts";

/**
 * Returns a copy of `checkpoint` in `folder` as a destination. If the run fails, the files written so far are removed, and so is the folder
 * if it did not exist before. Opening the destination throws {ModelError} if the folder contains files and `overwrite` is false, or if it is
 * the checkpoint's own folder.
 */
export function copyDestination(
  checkpoint: Checkpoint,
  folder: string,
  overwrite: boolean,
): Destination<void> {
  return {
    async fill(prune) {
      const copy = await openCopy(planCopy(checkpoint), folder, denoFileSystem, { overwrite });
      try {
        await prune({ replace: async (name, weight) => void await copy.replace(name, weight) });
        await (await copy.complete()).publish();
      } catch (error) {
        await copy.abort();
        throw error;
      }
    },
  };
}
