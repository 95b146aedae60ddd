/** Writes a file in such a way that no reader ever sees half of it. */

import type { FileSystem } from "./file_system.ts";

/** Suffix of a file's name while the file is incomplete. */
export const TEMPORARY_SUFFIX = ".partial";

/**
 * Writes `bytes` to a temporary file beside `path`, flushes it to the disk and moves it into place. If a step fails, the
 * temporary file is removed and `path` is untouched.
 */
export async function writeAtomically(fs: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = path + TEMPORARY_SUFFIX;
  const file = await fs.create(temporary);
  try {
    try {
      await file.write(0, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.remove(temporary);
    throw error;
  }
}
