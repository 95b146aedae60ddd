/**
 * Opens a safetensors file as a shard, which is an open weight file together with the header of its copy. A
 * copy has the same layout as the file, so both have the same header.
 */

import { truncated } from "../safetensors/error.ts";
import {
  LENGTH_BYTES,
  MAX_CHECKPOINT_HEADER_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from "../safetensors/header.ts";
import type { ReadableFile } from "../files/file_system.ts";
import type { Shard } from "./shard.ts";

/**
 * Reads and checks the header of `file`. No tensor data is read.
 *
 * @throws {SafetensorsError} if the file is malformed or truncated
 */
export async function readSafetensorsShard(name: string, file: ReadableFile): Promise<Shard> {
  const header = await readHeader(file);
  return {
    name,
    file,
    header,
    readHeaderBytes: () => file.read(0, header.headerBytes),
    position: ({ begin }) => header.headerBytes + begin,
  };
}

async function readHeader(file: ReadableFile): Promise<SafetensorsHeader> {
  requireLength(file, LENGTH_BYTES);
  const jsonBytes = parseHeaderLength(await file.read(0, LENGTH_BYTES), MAX_CHECKPOINT_HEADER_BYTES);
  const headerBytes = LENGTH_BYTES + jsonBytes;
  requireLength(file, headerBytes);
  return parseHeader(await file.read(LENGTH_BYTES, jsonBytes), file.byteLength - headerBytes);
}

function requireLength({ byteLength }: ReadableFile, needed: number): void {
  if (byteLength < needed) throw truncated("header", byteLength, needed);
}
