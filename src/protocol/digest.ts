/** Digests, `sha256:HEX`, which name stored bodies. Streamed bodies are hashed where they are streamed; this file hashes bytes in memory. */

import { z } from "zod";

const PREFIX = "sha256:";

/** The text form of a digest. */
export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: 'must be "sha256:" and 64 lowercase hexadecimal digits',
}).meta({ description: "sha-256 of a body", example: PREFIX + "0".repeat(64) });

/** `sha256:HEX` with lowercase HEX. */
export type Digest = string;

/** Returns the digest for a 32-byte sha-256. */
export function formatDigest(hash: Uint8Array): Digest {
  return PREFIX + Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the 32-byte sha-256 of `bytes`, computed by Web Crypto. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
