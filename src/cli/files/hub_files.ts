/** Deno's file system as the hub's cache wants it. */

import { dirname, relative } from "node:path";
import type { CacheFileSystem } from "../../hub/cache.ts";
import { denoFileSystem } from "./deno_file_system.ts";

/** The files of this machine, with links. */
export const hubFiles: CacheFileSystem = {
  ...denoFileSystem,
  async link(target, path) {
    // What is there is a link to nothing: a blob was removed.
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (Deno.build.os === "windows") await Deno.rename(target, path); // links need rights there that few have
    else await Deno.symlink(relative(dirname(path), target), path); // so that the cache can be moved
  },
};
