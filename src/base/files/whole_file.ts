/** Reads whole files, replaces a file atomically, parses and formats JSON, and locks an output folder. */

import { messageOf } from "../errors.ts";
import { decodeUtf8, type JsonBounds, parseJson } from "../json.ts";
import { InUseError, ModelError } from "./file_error.ts";
import type { FileSystem, WorkFileSystem, WritableFile } from "./file_system.ts";

export const TEMPORARY_SUFFIX = ".partial";

/** The default limit for JSON. It takes several times its length in memory. The longest known config.json has 2 MiB. */
export const MAX_JSON_BYTES = 16 << 20;

/** Reads all bytes of a file. @throws {ModelError} if the file is longer than `maxBytes` */
export async function readBytes(
  fs: FileSystem,
  path: string,
  maxBytes = Infinity,
): Promise<Uint8Array<ArrayBuffer>> {
  const file = await fs.open(path);
  try {
    if (file.byteLength > maxBytes) {
      throw new ModelError(
        `${path}: has ${file.byteLength} bytes, but a file of its kind may have at most ${maxBytes}`,
      );
    }
    return await file.read(0, file.byteLength);
  } finally {
    await file.close();
  }
}

/** Reads a file as UTF-8 text. @throws {ModelError} if the file is longer than `maxBytes` or is not valid UTF-8 */
export async function readText(fs: FileSystem, path: string, maxBytes?: number): Promise<string> {
  const bytes = await readBytes(fs, path, maxBytes);
  return naming(path, () => decodeUtf8(bytes));
}

/** Reads and parses a JSON file. @throws {ModelError} if it is longer than `maxBytes`, is not valid UTF-8 or JSON, or exceeds a bound */
export async function readJson(
  fs: FileSystem,
  path: string,
  { maxBytes = MAX_JSON_BYTES, ...bounds }: FileBounds = {},
): Promise<unknown> {
  return parseJsonAt(await readBytes(fs, path, maxBytes), path, bounds);
}

export interface FileBounds extends JsonBounds {
  /** @default MAX_JSON_BYTES */
  readonly maxBytes?: number;
}

/** Writes `pieces` one after the other, as {@link writeFileAtomically} does. */
export async function writeAtomically(
  fs: FileSystem,
  path: string,
  ...pieces: readonly Uint8Array[]
): Promise<void> {
  await writeFileAtomically(fs, path, async (file) => {
    let end = 0;
    for (const piece of pieces) {
      await file.write(end, piece);
      end += piece.byteLength;
    }
  });
}

/**
 * Lets `write` fill a temporary file beside `path`, flushes it to the disk and renames it to `path`. If a step fails,
 * the temporary file is removed and `path` is unchanged.
 * @param mode the permission bits of a new file
 */
export async function writeFileAtomically(
  fs: FileSystem,
  path: string,
  write: (file: WritableFile) => Promise<void>,
  mode?: number,
): Promise<void> {
  const temporary = path + TEMPORARY_SUFFIX;
  const file = await fs.create(temporary, mode);
  try {
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.remove(temporary);
    throw error;
  }
}

/**
 * Parses JSON.
 * @param location where `json` comes from, for the error message: the name of a file, or a line of a file
 * @throws {ModelError} if `json` is malformed or exceeds a bound
 */
export function parseJsonAt(json: string | Uint8Array, location: string, bounds?: JsonBounds): unknown {
  return naming(location, () => parseJson(json, bounds));
}

function naming<T>(location: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new ModelError(`${location}: ${messageOf(cause)}`, { cause });
  }
}

/** Formats `value` as the text of a JSON file, indented by two spaces and with a newline at the end. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}

/** The folder inside an output folder for the lock and the unfinished run of `pare prune`. Complete outputs lack it. */
export const RUN_FOLDER = ".pare";

/** The file in `RUN_FOLDER` that is locked. */
export const LOCK_FILE = "lock";

/**
 * Locks the folder `out`, which is created if necessary. The operating system releases the lock when the process ends.
 * @throws {InUseError} if another process has locked the folder
 */
export async function lockFolder(fs: WorkFileSystem, out: string): Promise<AsyncDisposable> {
  await fs.makeFolder(out);
  // Private, because an unfinished run has weights and hidden states.
  await fs.makeFolder(`${out}/${RUN_FOLDER}`, 0o700);
  const lock = await fs.lock(`${out}/${RUN_FOLDER}/${LOCK_FILE}`);
  if (lock) return lock;
  throw new InUseError(`${out}: another process is working on this folder`);
}

/** Removes `folder` if it exists and contains no files. */
export async function removeIfEmpty(fs: FileSystem, folder: string): Promise<void> {
  if ((await fs.list(folder))?.length === 0) await fs.remove(folder);
}
