/** Copies and digests bytes in chunks, so that a tensor or a file of any size needs the memory of one chunk only. */

import { createHash } from "node:crypto";
import type { ReadableFile } from "./file_system.ts";

const COPY_CHUNK_BYTES = 16 << 20;

/**
 * Copies the bytes from 0 to `byteLength`. Each chunk is written at the offset from which it was read.
 * @throws the reason of `signal`, which is checked before each chunk, and any error of `read` and `write`
 */
export async function copyBytes(
  read: (offset: number, length: number) => Promise<Uint8Array>,
  write: (offset: number, bytes: Uint8Array) => Promise<void>,
  byteLength: number,
  signal?: AbortSignal,
): Promise<void> {
  for (let offset = 0; offset < byteLength; offset += COPY_CHUNK_BYTES) {
    signal?.throwIfAborted();
    await write(offset, await read(offset, Math.min(COPY_CHUNK_BYTES, byteLength - offset)));
  }
}

const DIGEST_CHUNK_BYTES = 8 << 20;

/** Returns the SHA-256 of `bytes` in lowercase hexadecimal. */
export function digestBytes(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Returns the SHA-256 of a range of a file in lowercase hexadecimal. Returns undefined if the file ends earlier. */
export async function digestRange(
  file: ReadableFile,
  offset: number,
  byteLength: number,
): Promise<string | undefined> {
  const end = offset + byteLength;
  if (end > file.byteLength) return undefined;
  const hash = createHash("sha256");
  for (let at = offset; at < end; at += DIGEST_CHUNK_BYTES) {
    hash.update(await file.read(at, Math.min(DIGEST_CHUNK_BYTES, end - at)));
  }
  return hash.digest("hex");
}
