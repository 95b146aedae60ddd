/** Locks an output folder, so that only one process writes to it, and removes it if nothing was written. */

import { InUseError } from "./file_error.ts";
import type { FileSystem, WorkFileSystem } from "./file_system.ts";

/** The folder in an output folder that exists while a command writes to the output. It has the unfinished run of `pare prune`. */
export const RUN_FOLDER = ".pare";

/** The file in `RUN_FOLDER` that is locked. */
export const LOCK_FILE = "lock";

/**
 * Locks the folder `out`, which is created if necessary. The operating system releases the lock when the process ends.
 * @throws {InUseError} if another process has locked the folder
 */
export async function lockFolder(fs: WorkFileSystem, out: string): Promise<AsyncDisposable> {
  await fs.makeFolder(out);
  await fs.makeFolder(`${out}/${RUN_FOLDER}`, 0o700); // an unfinished run has weights and hidden states in it
  const lock = await fs.lock(`${out}/${RUN_FOLDER}/${LOCK_FILE}`);
  if (lock) return lock;
  throw new InUseError(`${out}: another process is working on this folder`);
}

/** Removes `folder` if it exists and contains no files. */
export async function removeIfEmpty(fs: FileSystem, folder: string): Promise<void> {
  if ((await fs.list(folder))?.length === 0) await fs.remove(folder);
}
