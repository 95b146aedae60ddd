/**
 * Connects a command with the Hugging Face hub. The cache folder and the access token are set by the same environment
 * variables as for Hugging Face's own tools.
 */

import { type CacheFileSystem, cacheFolder } from "../../model/hub/cache.ts";
import type { HubOptions } from "../../model/hub/hub_access.ts";
import type { ResolveOptions } from "../../model/hub/resolve_model.ts";
import { retryLine } from "../remote_client.ts";
import type { Output } from "../terminal/output.ts";
import { HUB_VARIABLES } from "../environment.ts";
import { dirname, relative } from "node:path";
import { denoFileSystem } from "./deno_file_system.ts";

/** The values of `HUB_VARIABLES`. */
export type HubVariables = Readonly<Partial<Record<typeof HUB_VARIABLES[number], string>>>;

/**
 * Calls `download` with the options for the hub, and shows the progress of the download.
 * @param variables the environment variables; they are read from the process if they are not given
 */
export async function useHub<T>(
  output: Output,
  signal: AbortSignal,
  download: (options: ResolveOptions) => Promise<T>,
  variables?: HubVariables,
): Promise<T> {
  const env = variables ?? readHubVariables(), bar = output.progress("fetching");
  let currentFile = "";
  try {
    return await download({
      fs: hubFiles,
      cacheDir: cacheFolder(env),
      ...hubOptions(env, output, signal),
      offline: isOffline(env),
      remark: (line) => output.remark(line),
      progress: ({ file, done, files, bytes, byteLength }) => {
        if (file !== currentFile) bar.step(done, files, file);
        currentFile = file;
        bar.note(`${file} ${Math.floor(100 * bytes / Math.max(byteLength, 1))} %`);
      },
    });
  } finally {
    bar.stop();
  }
}

/** Returns the options for every request to the hub. */
export function hubOptions(env: HubVariables, output: Output, signal: AbortSignal): HubOptions {
  return {
    fetch,
    hubUrl: env.HF_ENDPOINT || undefined,
    accessToken: env.HF_TOKEN,
    signal,
    onRetry: ({ message }, waitMs) => output.remark(retryLine(message, waitMs)),
  };
}

/** Whether the environment forbids requests to the hub. */
export function isOffline({ HF_HUB_OFFLINE = "" }: HubVariables): boolean {
  return /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE);
}

/** Reads the environment variables. */
export function readHubVariables(): HubVariables {
  return Object.fromEntries(HUB_VARIABLES.map((name) => [name, Deno.env.get(name)]));
}

/** The file system of this machine, with links. */
export const hubFiles: CacheFileSystem = {
  ...denoFileSystem,
  async link(target, path) {
    // If `path` exists, it is a dangling link: the downloaded file that it pointed to was removed.
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (Deno.build.os === "windows") await Deno.rename(target, path); // links need special rights on Windows
    else await Deno.symlink(relative(dirname(path), target), path); // relative, so that the cache can be moved
  },
};
