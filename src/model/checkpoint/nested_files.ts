/** Lists the files in the folders of a checkpoint, such as the pictures of its card and further chat templates. A copy has them too. */

import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { RUN_FOLDER } from "../../base/files/whole_file.ts";

/** The most files and folders in a checkpoint. A published model has a few dozen, and an environment of Python has more. */
const MAX_ENTRIES = 10_000;

/**
 * Returns the paths of the files, relative to `folder`. Links to folders are not followed. Hidden folders are left out, such as the
 * history of git. So are outputs of runs, and folders that are checkpoints themselves.
 * @param configFile the name of the file that every checkpoint has
 * @throws {ModelError} if there are too many files and folders
 */
export async function listNestedFiles(fs: FileSystem, folder: string, configFile: string): Promise<string[]> {
  const found: string[] = [], waiting = (await fs.folders(folder)).filter(isVisible);
  for (const inside of waiting) { // the loop also takes the folders that it adds
    const files = await fs.list(`${folder}/${inside}`) ?? [],
      folders = await fs.folders(`${folder}/${inside}`);
    if (files.includes(configFile) || folders.includes(RUN_FOLDER)) continue;
    found.push(...files.map((file) => `${inside}/${file}`));
    waiting.push(...folders.filter(isVisible).map((name) => `${inside}/${name}`));
    if (found.length + waiting.length > MAX_ENTRIES) {
      throw new ModelError(
        `${folder}: has more than ${MAX_ENTRIES} files and folders in its folders; move out what does not belong to the model`,
      );
    }
  }
  return found;
}

const isVisible = (name: string) => !name.startsWith(".");

/** Returns the parent folders of `names`, each after its own parent. */
export function parentsOf(names: Iterable<string>): string[] {
  const parents = Array.from(names, (name) => name.split("/").slice(0, -1));
  return [...new Set(parents.flatMap((parts) => parts.map((_, i) => parts.slice(0, i + 1).join("/"))))];
}

/** Returns the names of all files in `folder` and in the parent folders of `names`. Links to folders are not followed. */
export async function listFolders(
  fs: FileSystem,
  folder: string,
  names: Iterable<string>,
): Promise<Set<string>> {
  const existing = new Set(await fs.list(folder));
  for (const parent of parentsOf(names)) {
    const files = await fs.list(`${folder}/${parent}`);
    if (!files || !await isOwnFolder(fs, folder, parent)) continue;
    for (const file of files) existing.add(`${parent}/${file}`);
  }
  return existing;
}

/** Whether the existing folder `parent` in `folder` is neither a link nor inside a link. */
export async function isOwnFolder(fs: FileSystem, folder: string, parent: string): Promise<boolean> {
  return await fs.realPath(`${folder}/${parent}`) === `${await fs.realPath(folder)}/${parent}`;
}
