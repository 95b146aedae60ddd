/** The pruned checkpoint on disk: whole, or not there at all. */

import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import { type CheckpointWriter, writeCheckpoint } from "../src/checkpoint/write_checkpoint.ts";
import { denoFileSystem } from "../src/cli/files/deno_file_system.ts";

/**
 * Writes a copy of `checkpoint` in `folder` with what `replaceLayers` replaces. When that fails, what was written is
 * removed, and so is the folder if it was made here.
 * @throws {ModelError} the folder has files and `overwrite` is not set, or is the checkpoint's own
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
    if (isNew) await removeEmpty(folder);
    throw error;
  }
}

async function removeEmpty(folder: string): Promise<void> {
  if ((await denoFileSystem.list(folder))?.length === 0) await Deno.remove(folder);
}
