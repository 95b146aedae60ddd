/** Writing a file so that no one ever sees half of it. */

import { denoFileSystem } from "./file_system.ts";

/** Writes `bytes` beside `path` and moves the file into its place once it is on the disk. Leaves nothing behind on failure. */
export async function writeAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.partial`;
  const file = await denoFileSystem.create(temporary);
  try {
    try {
      await file.write(0, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await denoFileSystem.rename(temporary, path);
  } catch (error) {
    await denoFileSystem.remove(temporary);
    throw error;
  }
}
