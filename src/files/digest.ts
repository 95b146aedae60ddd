/** Computes digests of bytes, so that a later process can tell whether a file still has the bytes that were written to it. */

import { createHash } from "node:crypto";
import type { ReadableFile } from "./file_system.ts";

/** The number of bytes that are read and hashed at a time. */
const DIGEST_CHUNK_BYTES = 8 << 20;

/** Returns the SHA-256 of `bytes` in lowercase hexadecimal. */
export function digestBytes(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Returns the SHA-256 of `byteLength` bytes at `offset` of a file, in lowercase hexadecimal. Returns undefined if the file ends
 * earlier.
 */
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
