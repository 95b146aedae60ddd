/**
 * Garbage collection by age, for a cron trigger: blobs past their days, uploads that nobody completed, and bytes that no
 * blob points at. It looks at a bounded number of objects a run and goes on at the next.
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

/** Pages of 1000 objects under each prefix in one run: a Worker has 1000 calls of R2 and some minutes. */
const MAX_PAGES = 100;

/** What a run removed. */
export interface Collected {
  readonly blobs: number;
  readonly uploads: number;
  readonly objects: number;
}

/** Collects what is past its age at `now`, in milliseconds since 1970. */
export async function collectGarbage(env: EdgeBindings, now: number): Promise<Collected> {
  const bucket = bucketOf(env), lifetime = blobLifetime(env);
  const uploads = await sweep(
    bucket,
    UPLOAD_PREFIX,
    now - GRACE_MILLISECONDS,
    (old) => dropUploads(bucket, old),
  );
  const blobs = await sweep(bucket, BLOB_PREFIX, now - lifetime, async (old) => {
    // The pointers first: a reader then finds nothing, instead of a name without bytes.
    await bucket.delete(old.map(({ key }) => key));
    await bucket.delete(old.map((pointer) => readPointer(pointer).key));
  });
  // Whatever pointed at bytes of this age came to be within an upload's life of them, so it is collected by now.
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

/** Hands the objects under `prefix` that are older than `before` to `remove`, a page at a time. */
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
    // Joined uploads have no parts left; R2 itself ends the others after a week.
    await bucket.resumeMultipartUpload(key, multipart).abort().catch(() => {});
  }
  await bucket.delete(old.map(({ key }) => key));
}
