/** Downloads a file of a data set from the Hugging Face hub. The file is pinned to a commit, so it never changes. */

import { dirname } from "node:path/posix";
import { ModelError } from "../../base/files/file_error.ts";
import { RepositoryCache } from "./cache.ts";
import { fetchFile } from "./download.ts";
import { HubAccess, listFolder } from "./hub_access.ts";
import type { ResolveOptions } from "./resolve_model.ts";

export interface DatasetFile {
  /** The name of the data set, in the form `OWNER/NAME`. */
  readonly repo: string;
  readonly commit: string;
  /** The path of the file in the repository. */
  readonly path: string;
}

/**
 * Returns the path of a file in the cache, and downloads it first if the cache does not have it. The length and the
 * digest of a download are compared with the hub's list for the commit.
 * @param reference the name of the text on the command line, for error messages
 * @throws {ModelError} if the hub refuses access or does not have the file, or if the cache does not have it while
 * `offline` is set
 * @throws {HubUnreachable} if the hub cannot be reached and the cache does not have the file
 * @throws {InUseError} if another process is downloading the file
 */
export async function resolveDatasetFile(
  reference: string,
  file: DatasetFile,
  options: ResolveOptions,
): Promise<string> {
  const { repo: name, commit, path } = file;
  const cache = new RepositoryCache(options.fs, options.cacheDir, { type: "dataset", name });
  if (await cache.hasFile(commit, path)) return cache.filePath(commit, path);
  if (options.offline) {
    throw new ModelError(`${reference}: is not in ${options.cacheDir}, and HF_HUB_OFFLINE forbids downloads`);
  }
  const access = new HubAccess(reference, options), folder = dirname(path);
  const entries = await access.retry(() =>
    access.request(() => listFolder(access, cache.repository, commit, folder))
  );
  const entry = entries.get(path);
  if (!entry) throw new ModelError(`${reference}: the hub does not list ${path} in the data set ${name}`);
  await fetchFile(cache, access, { commit, entry }, (bytes) => {
    options.progress?.({ file: path, done: 0, files: 1, bytes, byteLength: entry.size });
  });
  return cache.filePath(commit, path);
}
