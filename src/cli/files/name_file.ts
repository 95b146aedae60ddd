/** Adds the path to errors of the operating system, because several of Deno's operations do not name it. */

import { FileError } from "../../files/file_error.ts";

/** The end of Deno's messages: the number of the error, and the operation with its path. */
const DENO_SUFFIX = / \(os error \d+\)(: .*)?$/;

/**
 * Runs `operation` on the file or folder `path`.
 * @throws {FileError} if the operating system refuses the operation. All other errors are passed on unchanged
 */
export async function nameFile<T>(path: string, operation: () => T | Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    if (!(cause instanceof Error && "code" in cause && typeof cause.code === "string")) throw cause;
    throw new FileError(path, cause.code, cause.message.replace(DENO_SUFFIX, ""), { cause });
  }
}
