/** Replaces a file atomically, so that a reader sees either the old content or the complete new content. */

import type { FileSystem } from "./file_system.ts";

/** The suffix of the name of a file that is not complete yet. */
export const TEMPORARY_SUFFIX = ".partial";

/**
 * Writes `bytes` to a temporary file beside `path`, flushes it to the disk and renames it to `path`. If a step fails, the
 * temporary file is removed and `path` is unchanged.
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
