/**
 * Garbage collection by age, run by a cron trigger. It deletes expired blobs, uploads that were never completed, and bytes that no blob
 * points to. Each run looks at a limited number of objects, and the next run continues.
 */

import type { EdgeBindings } from "../bindings.ts";
import type { R2Bucket, R2Object } from "../runtime.ts";
import { readRecord } from "../uploads/record.ts";
import {
  BLOB_PREFIX,
  blobLifetime,
  bucketOf,
  GRACE_MILLISECONDS,
  OBJECT_PREFIX,
  readPointer,
  UPLOAD_PREFIX,
} from "./store.ts";

/** The pages of 1000 objects per prefix in one run. A Worker may make 1000 R2 calls and run for some minutes. */
const MAX_PAGES = 100;

/** The numbers of objects that a run deleted. */
export interface Collected {
  readonly blobs: number;
  readonly uploads: number;
  readonly objects: number;
}

/** Deletes everything that is too old at the time `now`, in milliseconds since 1970. */
export async function collectGarbage(env: EdgeBindings, now: number): Promise<Collected> {
  const bucket = bucketOf(env), lifetime = blobLifetime(env);
  const uploads = await sweep(
    bucket,
    UPLOAD_PREFIX,
    now - GRACE_MILLISECONDS,
    (old) => dropUploads(bucket, old),
  );
  const blobs = await sweep(bucket, BLOB_PREFIX, now - lifetime, async (old) => {
    // Pointers are deleted first, so that a reader finds no blob rather than a blob without bytes.
    await bucket.delete(old.map(({ key }) => key));
    await bucket.delete(old.map((pointer) => readPointer(pointer).key));
  });
  // A pointer is written within the lifetime of an upload after its bytes. So all pointers to bytes of this age are deleted by now.
  const objects = blobs.whole
    ? await sweep(
      bucket,
      OBJECT_PREFIX,
      now - lifetime - 2 * GRACE_MILLISECONDS,
      (old) => bucket.delete(old.map(({ key }) => key)),
    )
    : { removed: 0 };
  return { blobs: blobs.removed, uploads: uploads.removed, objects: objects.removed };
}

/** Calls `remove` with the objects under `prefix` that are older than `before`, page by page. */
async function sweep(
  bucket: R2Bucket,
  prefix: string,
  before: number,
  remove: (old: readonly R2Object[]) => Promise<void>,
): Promise<{ readonly removed: number; readonly whole: boolean }> {
  let removed = 0, cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const listed = await bucket.list({ prefix, cursor, include: ["customMetadata"] });
    const old = listed.objects.filter(({ uploaded }) => uploaded.getTime() < before);
    if (old.length > 0) await remove(old);
    removed += old.length;
    if (!listed.truncated) return { removed, whole: true };
    cursor = listed.cursor;
  }
  return { removed, whole: false };
}

async function dropUploads(bucket: R2Bucket, old: readonly R2Object[]): Promise<void> {
  for (const { key: name } of old) {
    const { key, multipart } = await readRecord(bucket, name.slice(UPLOAD_PREFIX.length));
    // A completed upload has no parts left. R2 itself deletes the others after a week.
    await bucket.resumeMultipartUpload(key, multipart).abort().catch(() => {});
  }
  await bucket.delete(old.map(({ key }) => key));
}
