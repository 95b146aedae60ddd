/** Computes digests with Web Crypto, or with `@noble/hashes` where Web Crypto cannot. README.md names these cases. */

import { sha256 } from "@noble/hashes/sha2.js";
import { type Digest, formatDigest } from "../protocol/digest.ts";

const CHUNK_BYTES = 8 * 2 ** 20;

/** The largest source in bytes that Web Crypto hashes. `@noble/hashes` takes five times as long, but reads chunks. */
const MAX_WHOLE_BYTES = 512 * 2 ** 20;

export async function digestOfBytes(bytes: Uint8Array<ArrayBuffer>): Promise<Digest> {
  // The type says that Web Crypto always exists. A page that is not a secure context lacks it.
  const webCrypto: SubtleCrypto | undefined = crypto.subtle;
  return formatDigest(webCrypto ? new Uint8Array(await webCrypto.digest("SHA-256", bytes)) : sha256(bytes));
}

/** Computes the digest of `source`. A large source is read chunk by chunk. */
export async function digestOfBlob(
  source: BlobSource,
  signal?: AbortSignal,
  maxWholeBytes: number = MAX_WHOLE_BYTES,
): Promise<Digest> {
  signal?.throwIfAborted();
  if (source.size <= maxWholeBytes) {
    return await digestOfBytes(await bytesOf(source, 0, source.size));
  }
  const hash = sha256.create();
  for (let start = 0; start < source.size; start += CHUNK_BYTES) {
    signal?.throwIfAborted();
    hash.update(await bytesOf(source, start, Math.min(start + CHUNK_BYTES, source.size)));
  }
  return formatDigest(hash.digest());
}

async function bytesOf(source: BlobSource, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await source.slice(start, end)).arrayBuffer());
}

/** Bytes that can be read in ranges, any number of times. A `Blob` has this interface. */
export interface BlobSource {
  /** Length in bytes. */
  readonly size: number;
  /** Returns the bytes from `start` up to `end`, exclusive. */
  slice(start: number, end: number): Blob | Promise<Blob>;
}
