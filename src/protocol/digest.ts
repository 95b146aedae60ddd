/**
 * Names of stored bytes: `sha256:HEX`, the digest of the body that carried them. Bodies that stream are hashed
 * where they stream; this hashes what is in memory.
 */

import { z } from "zod";

const PREFIX = "sha256:";

/** A digest as it travels. */
export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: 'must be "sha256:" and 64 lowercase hexadecimal digits',
}).meta({ description: "sha-256 of a body", example: PREFIX + "0".repeat(64) });

/** `sha256:HEX`, HEX lowercase. */
export type Digest = string;

/** The name of the bytes whose 32-byte sha-256 is `hash`. */
export function formatDigest(hash: Uint8Array): Digest {
  return PREFIX + Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The 32-byte sha-256 of `bytes`, by the platform's Web Crypto. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
