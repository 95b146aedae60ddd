/** Locks an output folder, so that only one process writes to it. */

import type { WorkFileSystem } from "./file_system.ts";
import { InUseError } from "./in_use_error.ts";

/** The folder inside an output folder that exists while a command writes to the output. An unfinished run of `pare prune` is in it. */
export const RUN_FOLDER = ".pare";

/** The name of the file in `RUN_FOLDER` that is locked. */
export const LOCK_FILE = "lock";

/**
 * Locks the folder `out`, which is created if it does not exist. The operating system releases the lock when the process ends.
 * @throws {InUseError} if another process has locked the folder
 */
export async function lockFolder(fs: WorkFileSystem, out: string): Promise<AsyncDisposable> {
  await fs.makeFolder(out);
  await fs.makeFolder(`${out}/${RUN_FOLDER}`, 0o700); // an unfinished run has weights and hidden states in it
  const lock = await fs.lock(`${out}/${RUN_FOLDER}/${LOCK_FILE}`);
  if (lock) return lock;
  throw new InUseError(`${out}: another process is working on this folder`);
}
