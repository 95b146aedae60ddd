/** Reads the accepted keys of a host from the variable `PARE_KEYS` or from the file that `PARE_KEYS_FILE` names. */

import { KeyFile } from "../src/host/key_file.ts";
import { type Key, parseKeys } from "../src/protocol/keys.ts";
import { messageOf } from "../src/base/errors.ts";

/** The largest file of keys. It has room for more than ten thousand keys. */
const MAX_FILE_BYTES = 2 ** 20;

/** The keys of a host, which are either fixed or read from a file. */
export interface KeySettings {
  readonly keys?: readonly Key[];
  readonly keyFile?: KeyFile;
}

/**
 * Returns the keys of a host.
 * @param list the value of `PARE_KEYS`
 * @param path the value of `PARE_KEYS_FILE` or of `--keys-file`
 * @throws {RangeError} if the list or the file is malformed, if the file cannot be read, or if both are given
 */
export async function readKeySettings(
  list: string | undefined,
  path: string | undefined,
): Promise<KeySettings> {
  if (!path) return { keys: parseKeys(list ?? "") };
  if (list) throw new RangeError("PARE_KEYS and PARE_KEYS_FILE are both set: set one of them");
  return { keyFile: await KeyFile.open({ path, read: () => readSmallFile(path) }) };
}

async function readSmallFile(path: string): Promise<string> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) throw new RangeError("it is not a regular file");
    if (size > MAX_FILE_BYTES) throw new RangeError(`it has ${size} bytes, and at most 1 MiB is allowed`);
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new RangeError(`key file ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
}
