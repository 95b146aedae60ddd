/** Writes a pruned copy of a checkpoint. If that fails, no partial copy remains. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { type OpenCopy, openCopy } from "../../src/checkpoint/write/open_copy.ts";
import { planCopy } from "../../src/checkpoint/write/write_plan.ts";

/**
 * Writes a copy of `checkpoint` to `folder`. `replaceLayers` gets the open copy and replaces the pruned layers. If
 * it throws, the files written so far are removed, and so is the folder if it did not exist before.
 * @returns the result of `replaceLayers`
 * @throws {ModelError} if the folder contains files and `overwrite` is false, or if it is the checkpoint's own folder
 */
export async function writePruned<T>(
  checkpoint: Checkpoint,
  folder: string,
  overwrite: boolean,
  replaceLayers: (copy: OpenCopy) => Promise<T>,
): Promise<T> {
  const copy = await openCopy(planCopy(checkpoint), folder, denoFileSystem, { overwrite });
  try {
    const result = await replaceLayers(copy);
    await (await copy.complete()).publish();
    return result;
  } catch (error) {
    await copy.abort();
    throw error;
  }
}
