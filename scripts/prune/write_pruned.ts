/** Writes a pruned copy of a checkpoint. If that fails, no partial copy remains. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { type CheckpointWriter, writeCheckpoint } from "../../src/checkpoint/write_checkpoint.ts";

/**
 * Writes a copy of `checkpoint` to `folder`. `replaceLayers` gets the writer of the copy and replaces the pruned layers. If
 * it throws, the files written so far are removed, and so is the folder if it did not exist before.
 * @returns the result of `replaceLayers`
 * @throws {ModelError} if the folder contains files and `overwrite` is false, or if it is the checkpoint's own folder
 */
export async function writePruned<T>(
  checkpoint: Checkpoint,
  folder: string,
  overwrite: boolean,
  replaceLayers: (writer: CheckpointWriter) => Promise<T>,
): Promise<T> {
  const isNew = await denoFileSystem.list(folder) === undefined;
  const writer = await writeCheckpoint(checkpoint, folder, denoFileSystem, { overwrite });
  try {
    const result = await replaceLayers(writer);
    await writer.finish();
    return result;
  } catch (error) {
    await writer.abort();
    if (isNew) await removeIfEmpty(folder);
    throw error;
  }
}

async function removeIfEmpty(folder: string): Promise<void> {
  if ((await denoFileSystem.list(folder))?.length === 0) await Deno.remove(folder);
}
