/**
 * Downloads one file from the Hugging Face hub into the cache, where it becomes a blob. The bytes are written to
 * `BLOB.incomplete`, so that an interrupted download can be resumed, also by a later process. When the length and the
 * digest of the file are correct, it is renamed.
 */

import { downloadFile, type ListFileEntry } from "@huggingface/hub";
import { ModelError } from "../../base/files/file_error.ts";
import type { EditableFile, ReadableFile } from "../../base/files/file_system.ts";
import type { Repository, RepositoryCache } from "./cache.ts";
import type { HubAccess } from "./hub_access.ts";
import { createHash } from "node:crypto";

export interface HubFile {
  readonly commit: string;
  readonly entry: ListFileEntry;
}

/**
 * Downloads a file into the snapshot of its commit, unless the cache has its blob.
 * @param onReceived called during the download with the number of bytes received in all attempts so far
 * @throws {InUseError} if another process is downloading the file
 * @throws {ModelError} if the listing has no well-formed digest, if the hub refuses the request or does not have a file
 * that it lists, or if the bytes do not match the listed length and digest
 * @throws {HubUnreachable} if the download did not complete. The bytes received so far stay on disk
 */
export async function fetchFile(
  cache: RepositoryCache,
  access: HubAccess,
  file: HubFile,
  onReceived: (bytes: number) => void,
): Promise<void> {
  const { commit, entry } = file;
  if (await cache.hasFile(commit, entry.path)) return;
  const digest = listedDigest(entry);
  const blob = await cache.prepareBlobPath(digest);
  if (!await cache.hasBlob(digest)) {
    await using _lock = await cache.lock(digest, entry.path);
    const partial = `${blob}.incomplete`;
    await download(await cache.fs.edit(partial), cache.repository, access, file, onReceived);
    await verify(cache, partial, file, digest);
    await cache.fs.rename(partial, blob);
  }
  await cache.addToSnapshot(commit, entry.path, blob);
}

/** Appends the missing bytes to `target` and closes it. */
async function download(
  target: EditableFile,
  repo: Repository,
  access: HubAccess,
  { commit, entry: { path, size } }: HubFile,
  onReceived: (bytes: number) => void,
): Promise<void> {
  let at = target.byteLength;
  const attempt = async () => {
    if (at >= size) return;
    const blob = await access.request(() => downloadFile({ ...access.client, repo, path, revision: commit }));
    if (!blob) throw new ModelError(`${path}: the hub lists this file but does not have it`);
    const reader = blob.slice(at, size).stream().getReader();
    try {
      for (;;) {
        const { value } = await access.request(() => reader.read());
        if (!value || at >= size) break; // a server may send more bytes than the listing says
        const bytes = value.subarray(0, size - at);
        await target.write(at, bytes);
        at += bytes.byteLength;
        onReceived(at);
      }
    } finally {
      reader.cancel().catch(() => {}); // closes the connection if writing to the disk failed
    }
    if (at < size) {
      await access.request(() => Promise.reject(new Error(`${path} ended at byte ${at} of ${size}`)));
    }
  };
  try {
    await access.retry(attempt, () => at);
    await target.sync();
  } finally {
    await target.close();
  }
}

/**
 * If the length or the digest is wrong, the file is removed, so that the next attempt starts from the beginning.
 * @throws {ModelError} naming the difference
 */
async function verify(
  { fs }: RepositoryCache,
  partial: string,
  { entry }: HubFile,
  digest: string,
): Promise<void> {
  const file = await fs.open(partial);
  const actual = await computeDigest(file, digest).finally(() => file.close());
  if (file.byteLength === entry.size && actual === digest) return;
  await fs.remove(partial);
  throw new ModelError(
    `${entry.path}: the download has ${file.byteLength} bytes with digest ${actual}, ` +
      `but the hub lists ${entry.size} bytes with digest ${digest}; the file was removed, try again`,
  );
}

/** The number of bytes that are read and hashed at a time. */
const HASH_CHUNK_BYTES = 8 << 20;

/**
 * The digest that the hub lists for a file, in lowercase hexadecimal.
 * @throws {ModelError} if the listing has no well-formed digest. It is checked because it becomes a file name
 */
export function listedDigest({ path, lfs, oid }: ListFileEntry): string {
  const digest = lfs?.oid ?? oid ?? "";
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(digest)) {
    throw new ModelError(`${path}: the hub lists the invalid digest ${JSON.stringify(digest).slice(0, 80)}`);
  }
  return digest;
}

/** @param expected the digest from the listing. Its length decides between SHA-256 and git's SHA-1 */
async function computeDigest(file: ReadableFile, expected: string): Promise<string> {
  const isGit = expected.length === 40;
  const hash = createHash(isGit ? "sha1" : "sha256");
  if (isGit) hash.update(`blob ${file.byteLength}\0`);
  for (let at = 0; at < file.byteLength; at += HASH_CHUNK_BYTES) {
    hash.update(await file.read(at, Math.min(HASH_CHUNK_BYTES, file.byteLength - at)));
  }
  return hash.digest("hex");
}
