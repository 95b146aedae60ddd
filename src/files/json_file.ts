/** Small files of a checkpoint folder, read whole. */

import { ModelError } from "./model_error.ts";
import type { FileSystem } from "./file_system.ts";
import { messageOf } from "../text/message_of.ts";

/** The whole of a file. */
export async function readBytes(fs: FileSystem, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = await fs.open(path);
  try {
    return await file.read(0, file.byteLength);
  } finally {
    await file.close();
  }
}

/** The whole of a file as UTF-8 text. @throws {ModelError} it is not UTF-8 */
export async function readText(fs: FileSystem, path: string): Promise<string> {
  return decodeUtf8(await readBytes(fs, path), path);
}

/** A JSON file's value. @throws {ModelError} it is not JSON */
export async function readJson(fs: FileSystem, path: string): Promise<unknown> {
  const text = await readText(fs, path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${path}: is not valid JSON: ${reason}`, { cause });
  }
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ModelError(`${path}: is not valid UTF-8`, { cause });
  }
}
