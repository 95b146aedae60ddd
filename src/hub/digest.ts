/**
 * Digests of files on the Hugging Face hub. For a large file, which is stored in Git LFS, the hub lists the
 * SHA-256. For a small file, it lists git's object id, which is a SHA-1. Pare checks the bytes of a download
 * against this digest. The digest is also the name under which the cache stores the file.
 */

import { createHash } from "node:crypto";
import type { ListFileEntry } from "@huggingface/hub";
import { ModelError } from "../files/model_error.ts";
import type { ReadableFile } from "../files/file_system.ts";

/** The number of bytes that are read and hashed at a time. */
const HASH_CHUNK_BYTES = 8 << 20;

/**
 * The digest that the hub lists for a file, in lowercase hexadecimal.
 *
 * @throws {ModelError} if the listing has no well-formed digest. The form is checked because the digest becomes a file
 * name.
 */
export function listedDigest({ path, lfs, oid }: ListFileEntry): string {
  const digest = lfs?.oid ?? oid ?? "";
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(digest)) {
    throw new ModelError(`${path}: the hub lists the invalid digest ${JSON.stringify(digest).slice(0, 80)}`);
  }
  return digest;
}

/**
 * Computes the digest of a file.
 *
 * @param expected the digest from the listing. Its length decides between SHA-256 and git's SHA-1
 */
export async function computeDigest(file: ReadableFile, expected: string): Promise<string> {
  const isGit = expected.length === 40;
  const hash = createHash(isGit ? "sha1" : "sha256");
  if (isGit) hash.update(`blob ${file.byteLength}\0`);
  for (let at = 0; at < file.byteLength; at += HASH_CHUNK_BYTES) {
    hash.update(await file.read(at, Math.min(HASH_CHUNK_BYTES, file.byteLength - at)));
  }
  return hash.digest("hex");
}
