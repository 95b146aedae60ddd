/**
 * Implements the file system for the cache of downloaded models. The cache needs links in addition to the
 * operations of `denoFileSystem`.
 */

import { dirname, relative } from "node:path";
import type { CacheFileSystem } from "../../hub/cache.ts";
import { denoFileSystem } from "./deno_file_system.ts";

/** The file system of this machine, with links. */
export const hubFiles: CacheFileSystem = {
  ...denoFileSystem,
  async link(target, path) {
    // If `path` exists, it is a dangling link: the downloaded file that it pointed to was removed.
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (Deno.build.os === "windows") await Deno.rename(target, path); // links need special rights on Windows
    else await createLink(target, path);
  },
};

/**
 * Creates a symbolic link, which is relative, so that the cache can be moved. Deno creates symbolic links only if the process may read and
 * write all files. Otherwise the file gets a second name (a hard link).
 */
async function createLink(target: string, path: string): Promise<void> {
  try {
    await Deno.symlink(relative(dirname(path), target), path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    await Deno.link(target, path);
  }
}
