/** A safetensors file as a shard: its header, checked, and the same bytes for the head of a copy. */

import { SafetensorsError } from "../safetensors/error.ts";
import {
  LENGTH_BYTES,
  MAX_CHECKPOINT_HEADER_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from "../safetensors/header.ts";
import type { ReadableFile } from "../files/file_system.ts";
import type { Shard } from "./shard.ts";

/** The shard in `file`. No tensor data is read. @throws {SafetensorsError} it is malformed or cut short */
export async function safetensorsShard(name: string, file: ReadableFile): Promise<Shard> {
  const header = await readHeader(file);
  return {
    name,
    file,
    header,
    headerBlock: () => file.read(0, header.headerBytes),
    position: ({ begin }) => header.headerBytes + begin,
  };
}

async function readHeader(file: ReadableFile): Promise<SafetensorsHeader> {
  checkReached(file, LENGTH_BYTES);
  const jsonBytes = parseHeaderLength(await file.read(0, LENGTH_BYTES), MAX_CHECKPOINT_HEADER_BYTES);
  const headerBytes = LENGTH_BYTES + jsonBytes;
  checkReached(file, headerBytes);
  return parseHeader(await file.read(LENGTH_BYTES, jsonBytes), file.byteLength - headerBytes);
}

function checkReached({ byteLength }: ReadableFile, needed: number): void {
  if (byteLength >= needed) return;
  throw new SafetensorsError(
    "truncated",
    `safetensors header: file ends at byte ${byteLength} but needs ${needed}`,
    { byte: byteLength },
  );
}
