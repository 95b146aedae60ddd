/** Deletes expired blobs, uploads that took more than a day, and bytes without a pointer (`blobs/store.ts`). */

import pMap from "p-map";
import type { EdgeBindings } from "./bindings.ts";
import type { R2Bucket, R2Object } from "./runtime.ts";
import { findRecord } from "./uploads/upload_record.ts";
import {
  BLOB_PREFIX,
  blobLifetime,
  GRACE_MILLISECONDS,
  MAX_CONCURRENT_LOOKUPS,
  OBJECT_PREFIX,
  readPointer,
  requireBucket,
  UPLOAD_PREFIX,
} from "./blobs/store.ts";

/** The largest number of pages of 1000 objects per prefix. It bounds the time of a run and its calls of R2. */
const MAX_LIST_PAGES = 100;

export interface Collected {
  readonly blobs: number;
  readonly uploads: number;
  readonly objects: number;
}

/** Deletes every object whose lifetime is over at the time `now`, in milliseconds since 1970. */
export async function collectGarbage(env: EdgeBindings, now: number): Promise<Collected> {
  const bucket = requireBucket(env), lifetime = blobLifetime(env);
  const uploads = await deleteOlder(
    bucket,
    UPLOAD_PREFIX,
    now - GRACE_MILLISECONDS,
    (expired) => deleteUploads(bucket, expired),
  );
  const blobs = await deleteOlder(
    bucket,
    BLOB_PREFIX,
    now - lifetime,
    (expired) => deleteBlobs(bucket, expired, now - lifetime),
  );
  // A pointer is written at most a day after its bytes, because uploads and signed URLs live no longer. Once
  // all expired pointers are deleted, no pointer refers to bytes that are older than the lifetime of blobs
  // plus two days.
  const objects = blobs.isComplete
    ? await deleteOlder(
      bucket,
      OBJECT_PREFIX,
      now - lifetime - 2 * GRACE_MILLISECONDS,
      (expired) => bucket.delete(expired.map(({ key }) => key)),
    )
    : { removed: 0 };
  return { blobs: blobs.removed, uploads: uploads.removed, objects: objects.removed };
}

/**
 * Calls `remove` with the objects under `prefix` that were written before the time `before`, page by page.
 * @returns the number of these objects, and whether the whole listing was examined
 */
async function deleteOlder(
  bucket: R2Bucket,
  prefix: string,
  before: number,
  remove: (expired: readonly R2Object[]) => Promise<void>,
): Promise<{ readonly removed: number; readonly isComplete: boolean }> {
  let removed = 0, cursor: string | undefined;
  for (let page = 0; page < MAX_LIST_PAGES; page++) {
    const listed = await bucket.list({ prefix, cursor, include: ["customMetadata"] });
    const expired = listed.objects.filter(({ uploaded }) => uploaded.getTime() < before);
    if (expired.length > 0) await remove(expired);
    removed += expired.length;
    if (!listed.truncated) return { removed, isComplete: true };
    cursor = listed.cursor;
  }
  return { removed, isComplete: false };
}

/** Deletes blobs. Their pointers are looked up again, because a new upload may have replaced a pointer. */
async function deleteBlobs(bucket: R2Bucket, listed: readonly R2Object[], before: number): Promise<void> {
  const pointers = await pMap(listed, ({ key }) => bucket.head(key), { concurrency: MAX_CONCURRENT_LOOKUPS });
  const expired = pointers.filter((pointer) => pointer !== null)
    .filter(({ uploaded }) => uploaded.getTime() < before);
  if (expired.length === 0) return;
  // The pointers are deleted before the bytes, so that no reader finds a blob without bytes.
  await bucket.delete(expired.map(({ key }) => key));
  await bucket.delete(expired.flatMap((pointer) => readPointer(pointer)?.key ?? []));
}

async function deleteUploads(bucket: R2Bucket, expired: readonly R2Object[]): Promise<void> {
  for (const { key: name } of expired) {
    const record = await findRecord(bucket, name.slice(UPLOAD_PREFIX.length));
    // A record that cannot be read has no upload to abort. It must not keep later records from being deleted.
    if (!record) continue;
    // The call fails if the upload was completed. After other failures, R2 deletes the parts within a week.
    await bucket.resumeMultipartUpload(record.key, record.multipart).abort().catch(() => {});
  }
  await bucket.delete(expired.map(({ key }) => key));
}
