/** Writes a pruned copy of a checkpoint. If that fails, no partial copy remains. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { type OpenCopy, openCopy } from "../../src/checkpoint/open_copy.ts";
import { removeIfEmpty } from "../../src/files/remove_if_empty.ts";

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
  const isNew = await denoFileSystem.list(folder) === undefined;
  const copy = await openCopy(checkpoint, folder, denoFileSystem, { overwrite });
  try {
    const result = await replaceLayers(copy);
    await (await copy.complete()).publish();
    return result;
  } catch (error) {
    await copy.abort();
    if (isNew) await removeIfEmpty(denoFileSystem, folder);
    throw error;
  }
}
