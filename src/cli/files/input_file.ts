/** Checks the files and folders that options and arguments name, before a command starts to work. */

import { FileError } from "../../base/files/file_error.ts";
import { UsageError } from "../errors.ts";
import { nameFile } from "./deno_file_system.ts";

/**
 * Checks that a file exists and is not a folder, but not whether it can be read.
 * @param source the option or argument that names the file, such as `option --text`
 * @throws {UsageError} naming the source, the path and the reason
 */
export async function requireFile(source: string, path: string): Promise<void> {
  if (await isFolder(source, path)) throw new UsageError(`${source} ${path}: is a folder, not a file`);
}

/** Checks that a folder exists. @throws {UsageError} as {@link requireFile} */
export async function requireFolder(source: string, path: string): Promise<void> {
  if (!await isFolder(source, path)) throw new UsageError(`${source} ${path}: is a file, not a folder`);
}

async function isFolder(source: string, path: string): Promise<boolean> {
  try {
    return (await nameFile(path, () => Deno.stat(path))).isDirectory;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new UsageError(`${source} ${error.message}`, { cause: error });
  }
}
