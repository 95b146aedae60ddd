/** Checks that a command can write to the places that its options name, before it starts to work. */

import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { FileError } from "../../files/file_error.ts";
import { UsageError } from "../errors.ts";
import { nameFile } from "./name_file.ts";
import { PROBE_FILE } from "./probe_file.ts";

/**
 * Checks that files can be written to a folder. The folder and its parents are created if they do not exist, and
 * are then removed again. A folder may have files and folders, but no devices, pipes or sockets, because they would be replaced or
 * written to.
 * @param option the option that names the folder, such as `--out`
 * @returns the free bytes on the disk of the folder
 * @throws {UsageError} naming the option, the path and the reason
 * @throws {FileError} if the disk is full
 */
export async function requireWritableFolder(option: string, folder: string): Promise<number> {
  return await explain(option, folder, async () => {
    const created = await createFolders(folder);
    try {
      await requirePlainEntries(option, folder);
      await createAndRemoveFile(folder);
      const { bavail, bsize } = await nameFile(folder, () => statfs(folder));
      return bavail * bsize;
    } finally {
      for (const path of created) await Deno.remove(path);
    }
  });
}

/**
 * Checks that a file can be written at `path`, whose folder must exist. An existing file is not changed. Anything else that exists there
 * is refused, because the new file would replace it: a device such as /dev/null, a pipe, a socket, or a link.
 * @throws {UsageError} naming the option, the path and the reason
 * @throws {FileError} if the disk is full
 */
export async function requireWritableFile(option: string, path: string): Promise<void> {
  await explain(option, path, async () => {
    const kind = kindOf(await findFile(path, Deno.lstat));
    if (kind !== undefined) throw new UsageError(`option ${option} ${path}: is ${kind}, not a file`);
    await createAndRemoveFile(dirname(path));
  });
}

/**
 * Checks that the output folder is not the model itself.
 * @throws {UsageError} naming the folder
 */
export async function requireOtherFolder(out: string, model: string): Promise<void> {
  if (!await isFolder(out) || await Deno.realPath(out) !== await Deno.realPath(model)) return;
  throw new UsageError(`option --out ${out}: is the model itself; write to another folder`);
}

/**
 * Checks that the output folder has no files, or may be overwritten.
 * @throws {UsageError} naming the folder
 */
export async function requireEmptyFolder(out: string, overwrite = false): Promise<void> {
  if (overwrite || !await isFolder(out)) return;
  for await (const _ of Deno.readDir(out)) {
    throw new UsageError(`option --out ${out}: is not empty; choose another folder, or add --overwrite`);
  }
}

/** Creates a file in `folder` and removes it. Errors name the folder, because the user does not know the file. */
async function createAndRemoveFile(folder: string): Promise<void> {
  const path = `${folder}/${PROBE_FILE}`;
  await nameFile(folder, async () => {
    (await Deno.open(path, { write: true, create: true })).close();
    await Deno.remove(path);
  });
}

/**
 * Creates `folder` and its missing parents. Returns the new folders, the innermost first. Folders above the outermost missing one are not
 * looked at, because the command may have no permission to read them.
 */
async function createFolders(folder: string): Promise<string[]> {
  if (await isFolder(folder)) return [];
  try {
    await Deno.mkdir(folder);
    return [folder];
  } catch (error) {
    const parent = dirname(folder);
    // `mkdir` reports a file of this name as something that exists, which would not explain the failure.
    if (await exists(folder)) throw new FileError(folder, "ENOTDIR", "is not a folder");
    if (!(error instanceof Deno.errors.NotFound) || parent === folder) {
      return await nameFile(folder, () => Promise.reject(error));
    }
    const created = await createFolders(parent);
    await nameFile(folder, () => Deno.mkdir(folder));
    return [folder, ...created];
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await findFile(path))?.isDirectory ?? false;
}

async function exists(path: string): Promise<boolean> {
  return await findFile(path) !== undefined;
}

/** @throws {UsageError} if the folder has an entry that is neither a file nor a folder */
async function requirePlainEntries(option: string, folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    const entry = await findFile(`${folder}/${name}`); // nothing for a link that leads nowhere, which is replaced
    if (!entry || entry.isFile || entry.isDirectory) continue;
    throw new UsageError(
      `option ${option} ${folder}: has ${name}, which is ${kindOf(entry)}; choose another folder`,
    );
  }
}

/** Describes what a path is, as the end of a sentence. Returns undefined for a regular file, and if nothing exists there. */
function kindOf(found: Deno.FileInfo | undefined): string | undefined {
  if (!found || found.isFile) return undefined;
  if (found.isDirectory) return "a folder";
  if (found.isSymlink) return "a link";
  if (found.isFifo) return "a pipe";
  return found.isSocket ? "a socket" : "a device";
}

async function findFile(
  path: string,
  stat: (path: string) => Promise<Deno.FileInfo> = Deno.stat,
): Promise<Deno.FileInfo | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/** Runs `check` and names the option in its errors. A full disk stays a {@link FileError}, because it is no fault of the option. */
async function explain<T>(option: string, path: string, check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof FileError) || error.isTransient) throw error;
    throw new UsageError(`option ${option} ${path}: cannot be written: ${error.message}`, { cause: error });
  }
}
