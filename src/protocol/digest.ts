/**
 * Digests `sha256:HEX`, which name stored bodies. Web Crypto, with which `sha256` hashes bytes in memory, cannot hash a
 * stream. The caller of `hashedStream` therefore supplies a hash object.
 */

const PREFIX = "sha256:";

/** A digest `sha256:HEX`, where HEX is in lowercase. */
export type Digest = string;

/** Writes a sha-256 as a digest. @param hash 32 bytes */
export function formatDigest(hash: Uint8Array): Digest {
  return PREFIX + Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the 32-byte sha-256 of `bytes`. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Yields the chunks of `source`, and adds each of them to `hash`, for example a Hash of `node:crypto`. */
export async function* hashedStream<Chunk extends Uint8Array>(
  source: AsyncIterable<Chunk>,
  hash: { update(chunk: Uint8Array): unknown },
): AsyncGenerator<Chunk, void, undefined> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}
