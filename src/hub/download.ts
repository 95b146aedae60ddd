/**
 * One file of the hub into the cache. What arrives goes to `BLOB.incomplete`, from where a broken download or the next process
 * goes on; it becomes the blob only when its length and its digest are right. Which files are wanted is not decided here.
 */

import { downloadFile, type ListFileEntry } from "@huggingface/hub";
import { ModelError } from "../files/model_error.ts";
import type { EditableFile } from "../files/file_system.ts";
import type { ModelCache } from "./cache.ts";
import { digestOf, promisedDigest } from "./digest.ts";
import type { HubAccess } from "./hub_access.ts";

/** A file to be fetched. */
export interface HubFile {
  readonly repo: string;
  readonly commit: string;
  readonly entry: ListFileEntry;
}

/**
 * Puts a file into the snapshot of its commit, from the blobs if it is there.
 * @param received told of the bytes that are there so far
 * @throws {ModelError} another process is at it, or what came is not what the hub had promised
 * @throws {HubUnreachable} it did not come whole; what came is kept
 */
export async function fetchFile(
  cache: ModelCache,
  access: HubAccess,
  file: HubFile,
  received: (bytes: number) => void,
): Promise<void> {
  const { commit, entry } = file;
  if (await cache.hasFile(commit, entry.path)) return;
  const digest = promisedDigest(entry);
  const blob = await cache.blob(digest);
  if (!await cache.hasBlob(digest)) {
    await using _lock = await cache.lock(digest, entry.path);
    const partial = `${blob}.incomplete`;
    await download(await cache.fs.edit(partial), access, file, received);
    await verify(cache, partial, file, digest);
    await cache.fs.rename(partial, blob);
  }
  await cache.addToSnapshot(commit, entry.path, blob);
}

/** Appends what is missing to `target` and closes it. */
async function download(
  target: EditableFile,
  access: HubAccess,
  { repo, commit, entry: { path, size } }: HubFile,
  received: (bytes: number) => void,
): Promise<void> {
  let at = target.byteLength;
  const attempt = async () => {
    if (at >= size) return;
    const blob = await access.ask(() => downloadFile({ ...access.client, repo, path, revision: commit }));
    if (!blob) throw new ModelError(`${path}: is listed, but not there`);
    const reader = blob.slice(at, size).stream().getReader();
    try {
      for (;;) {
        const { value } = await access.ask(() => reader.read());
        if (!value) break;
        await target.write(at, value);
        at += value.byteLength;
        received(at);
      }
    } finally {
      reader.cancel().catch(() => {}); // a disk that is full would leave the connection open
    }
    if (at < size) await access.ask(() => Promise.reject(new Error(`${path} ends at byte ${at} of ${size}`)));
  };
  try {
    await access.retry(attempt, () => at);
    await target.sync();
  } finally {
    await target.close();
  }
}

/** Removes the file if it is not what was promised, so that the next attempt begins anew. */
async function verify(
  { fs }: ModelCache,
  partial: string,
  { entry }: HubFile,
  digest: string,
): Promise<void> {
  const file = await fs.open(partial);
  const actual = await digestOf(file, digest).finally(() => file.close());
  if (file.byteLength === entry.size && actual === digest) return;
  await fs.remove(partial);
  throw new ModelError(
    `${entry.path}: arrived with ${file.byteLength} bytes of digest ${actual}, not with ${entry.size} of ${digest}; ` +
      "it was removed, try again",
  );
}
