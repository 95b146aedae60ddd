/**
 * Checks that the files of a checkpoint are in its folder. A link may lead to any file of the user, such as a private key, and most files of
 * a checkpoint are copied into the pruned one, which is then published.
 */

import type { FileSystem } from "../files/file_system.ts";
import { ModelError } from "../files/model_error.ts";

/** Matches the folder of a commit in the cache of the Hugging Face hub, whose files are links into the folder `blobs` of the model. */
const SNAPSHOT = /^(.*\/models--[^/]+)\/snapshots\/[^/]+$/;

/**
 * Checks the real paths of `files`. Links within the folder are accepted, and so are the links of the hub's cache to the blobs of the
 * same model.
 * @throws {ModelError} naming the link and the file that it leads to
 */
export async function requireOwnFiles(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
): Promise<void> {
  const root = withSlashes(await fs.realPath(folder)), model = SNAPSHOT.exec(root)?.[1];
  const allowed = [`${root}/`, ...model === undefined ? [] : [`${model}/blobs/`]];
  for (const name of files) {
    const path = withSlashes(await fs.realPath(`${folder}/${name}`));
    if (allowed.some((place) => path.startsWith(place))) continue;
    throw new ModelError(
      `${folder}/${name}: is a link to ${path}, outside of the folder of the model; replace the link by a copy of the file`,
    );
  }
}

function withSlashes(path: string): string {
  return path.replaceAll("\\", "/");
}
