/** The bytes of an upload, which may be larger than memory, and their digest. */

import { type Digest, formatDigest } from "../../protocol/digest.ts";

/**
 * Bytes that can be read in ranges, any number of times. A `Blob` has this interface, and a file can be
 * wrapped in it.
 */
export interface BlobSource {
  /** Length in bytes. */
  readonly size: number;
  /** Returns the bytes from `start` up to `end`, exclusive. */
  slice(start: number, end: number): Blob | Promise<Blob>;
}

/** Number of bytes that are read and hashed at a time. */
const HASH_CHUNK_BYTES = 8 * 2 ** 20;

/**
 * Computes the sha-256 of `source`, chunk by chunk.
 *
 * Web Crypto cannot hash a stream, because it needs all bytes in memory. This function therefore uses
 * `node:crypto`. It is the only exception from the rule that `src/client` runs wherever `fetch` exists. The
 * module is loaded when it is needed, so that the SDK still loads in browsers. A caller in a browser must
 * pass the digest to `Uploads.uploadBlob`.
 */
export async function digestOfBlob(source: BlobSource, signal?: AbortSignal): Promise<Digest> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  for (let start = 0; start < source.size; start += HASH_CHUNK_BYTES) {
    signal?.throwIfAborted();
    const chunk = await source.slice(start, Math.min(start + HASH_CHUNK_BYTES, source.size));
    hash.update(new Uint8Array(await chunk.arrayBuffer()));
  }
  return formatDigest(hash.digest());
}
