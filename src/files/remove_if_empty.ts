/** Removes a folder that a failed command created and left empty. */

import type { FileSystem } from "./file_system.ts";

/** Removes `folder` if it exists and contains no files. */
export async function removeIfEmpty(fs: FileSystem, folder: string): Promise<void> {
  if ((await fs.list(folder))?.length === 0) await fs.remove(folder);
}
