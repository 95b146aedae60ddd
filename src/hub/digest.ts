/**
 * What the hub promises of a file's bytes: the sha-256 of a large one, and git's object id, a sha-1, of a small one.
 * Blobs of the cache are named by it.
 */

import { createHash } from "node:crypto";
import type { ListFileEntry } from "@huggingface/hub";
import { ModelError } from "../files/model_error.ts";
import type { ReadableFile } from "../files/file_system.ts";

/** Bytes hashed at a time. */
const PIECE_BYTES = 8 << 20;

/** The digest in a listing, lowercase hexadecimal. @throws {ModelError} it has none that is well formed: it becomes a file's name */
export function promisedDigest({ path, lfs, oid }: ListFileEntry): string {
  const digest = lfs?.oid ?? oid ?? "";
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(digest)) {
    throw new ModelError(`${path}: the hub gives it the digest ${JSON.stringify(digest).slice(0, 80)}`);
  }
  return digest;
}

/** The digest of the same kind as `promised` that a file has. */
export async function digestOf(file: ReadableFile, promised: string): Promise<string> {
  const isGit = promised.length === 40;
  const hash = createHash(isGit ? "sha1" : "sha256");
  if (isGit) hash.update(`blob ${file.byteLength}\0`);
  for (let at = 0; at < file.byteLength; at += PIECE_BYTES) {
    hash.update(await file.read(at, Math.min(PIECE_BYTES, file.byteLength - at)));
  }
  return hash.digest("hex");
}
