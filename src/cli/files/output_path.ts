/** Checks that a command can write to the places that its options name, before it starts to work. */

import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { FileError } from "../../base/files/file_error.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem as fs, nameFile } from "./deno_file_system.ts";
import { LOCK_FILE, lockFolder, RUN_FOLDER } from "../../base/files/whole_file.ts";
import { PROBE_FILE } from "../environment.ts";

/**
 * Checks that files can be written to a folder. The folder and its parents are created if they do not exist, and are then removed again.
 * The folder itself may be a link. It may have files and folders in it, but no links, devices, pipes or sockets, because they would be
 * replaced, or written to outside of the folder.
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
    const kind = kindOf(await findFile(path));
    if (kind !== undefined) throw new UsageError(`option ${option} ${path}: is ${kind}, not a file`);
    await createAndRemoveFile(dirname(path));
  });
}

/**
 * Checks that writing to `path` replaces none of the files that the command reads, even if `path` is another name of such a file.
 * @throws {UsageError} naming the option, the path and the input
 */
export async function requireNoInput(option: string, path: string, inputs: readonly string[]): Promise<void> {
  const found = await findFile(path);
  if (!found) return;
  for (const input of inputs) {
    const read = await findFile(input, Deno.stat);
    if (read?.dev !== found.dev || read.ino !== found.ino) continue;
    throw new UsageError(
      `option ${option} ${path}: would replace ${input}, which the command reads; write to another file`,
    );
  }
}

/** Checks that the output folder is not the model itself. @throws {UsageError} naming the folder */
export async function requireOtherFolder(out: string, model: string): Promise<void> {
  if (!await isFolder(out) || await Deno.realPath(out) !== await Deno.realPath(model)) return;
  throw new UsageError(`option --out ${out}: is the model itself; write to another folder`);
}

/** Checks that the output folder is empty except for the lock of a process, unless `overwrite` is set. @throws {UsageError} naming the folder */
export async function requireEmptyFolder(out: string, overwrite = false): Promise<void> {
  if (overwrite) return;
  const names = [...await namesIn(out, RUN_FOLDER), ...await namesIn(`${out}/${RUN_FOLDER}`, LOCK_FILE)];
  if (names.length === 0) return;
  throw new UsageError(`option --out ${out}: is not empty; choose another folder, or add --overwrite`);
}

/**
 * Locks an output folder, which is created if it does not exist. When the lock is disposed of, the folder is removed if this function
 * created it and it is still empty.
 * @throws {InUseError} if another process works on the folder
 */
export async function lockOutput(out: string): Promise<AsyncDisposable> {
  const isNew = !await isFolder(out), lock = await lockFolder(fs, out), folder = `${out}/${RUN_FOLDER}`;
  return {
    async [Symbol.asyncDispose]() {
      await lock[Symbol.asyncDispose]();
      if ((await namesIn(folder, LOCK_FILE)).length === 0) await fs.removeFolder(folder); // otherwise a run is unfinished
      if (isNew && (await namesIn(out)).length === 0) await fs.remove(out);
    },
  };
}

/** Returns the names in a folder except `ignored`. A folder that does not exist has none. */
async function namesIn(folder: string, ignored?: string): Promise<string[]> {
  if (!await isFolder(folder)) return [];
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  return names.filter((name) => name !== ignored);
}

/** Creates a file in `folder` and removes it. Errors name the folder, because the user does not know the file. */
async function createAndRemoveFile(folder: string): Promise<void> {
  const path = `${folder}/${PROBE_FILE}`;
  await nameFile(folder, async () => {
    await Deno.remove(path).catch((error) => { // a process that was killed may have left it
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    (await Deno.open(path, { write: true, createNew: true })).close();
    await Deno.remove(path);
  });
}

/**
 * Creates `folder` and its missing parents. Returns the new folders, the innermost first. Folders above the outermost missing one are not
 * looked at.
 */
async function createFolders(folder: string): Promise<string[]> {
  if (await isFolder(folder)) return [];
  try {
    await Deno.mkdir(folder);
    return [folder];
  } catch (error) {
    const parent = dirname(folder);
    // `mkdir` reports a file of this name as something that exists, which would not explain the failure.
    const found = await findFile(folder);
    if (found?.isSymlink && !await exists(folder)) {
      throw new FileError(folder, "ELOOP", "is a link that leads nowhere");
    }
    if (found) throw new FileError(folder, "ENOTDIR", "is not a folder");
    if (!(error instanceof Deno.errors.NotFound) || parent === folder) {
      return await nameFile(folder, () => Promise.reject(error));
    }
    const created = await createFolders(parent);
    await nameFile(folder, () => Deno.mkdir(folder));
    return [folder, ...created];
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await findFile(path, Deno.stat))?.isDirectory ?? false;
}

/** Whether there is a file or a folder at a path, or a link to one. */
export async function exists(path: string): Promise<boolean> {
  return await findFile(path, Deno.stat) !== undefined;
}

/** @throws {UsageError} if the folder, or the folder of an unfinished run in it, has an entry that is neither a file nor a folder */
async function requirePlainEntries(option: string, out: string, folder = out): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`, entry = await findFile(path);
    if (entry?.isDirectory && (name === RUN_FOLDER || folder !== out)) {
      await requirePlainEntries(option, out, path);
    }
    if (!entry || entry.isFile || entry.isDirectory) continue;
    throw new UsageError(
      `option ${option} ${out}: has ${path.slice(out.length + 1)}, which is ${
        kindOf(entry)
      }; choose another folder`,
    );
  }
}

/** Describes what an entry is, as the end of a sentence. Returns undefined for a regular file, and if nothing exists there. */
function kindOf(found: Deno.FileInfo | undefined): string | undefined {
  if (!found || found.isFile) return undefined;
  if (found.isDirectory) return "a folder";
  if (found.isSymlink) return "a link";
  if (found.isFifo) return "a pipe";
  return found.isSocket ? "a socket" : "a device";
}

/** Returns what exists at a path, or undefined. A link is not followed unless `stat` follows it. */
async function findFile(
  path: string,
  stat: (path: string) => Promise<Deno.FileInfo> = Deno.lstat,
): Promise<Deno.FileInfo | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/** Runs `check` and names the option in its errors. A full disk stays a {@link FileError}, because the option is not at fault. */
async function explain<T>(option: string, path: string, check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof FileError) || error.isTransient) throw error;
    throw new UsageError(`option ${option} ${path}: cannot be written: ${error.message}`, { cause: error });
  }
}
