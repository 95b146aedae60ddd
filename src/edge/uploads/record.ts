/** The record of an upload in progress. It is an object in the bucket, so that it outlives every instance of the Worker. */

import { z } from "zod";
import { digestSchema } from "../../protocol/digest.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { UPLOAD_PREFIX } from "../blobs/store.ts";
import type { R2Bucket } from "../runtime.ts";

const recordSchema = z.object({
  digest: digestSchema,
  size: z.int(),
  partBytes: z.int(),
  /** The key of the object that the parts are joined to. */
  key: z.string(),
  /** The id of R2's multipart upload. */
  multipart: z.string(),
});

/** The record of an upload. */
export type UploadRecord = z.infer<typeof recordSchema>;

/** Stores a record under `id`. */
export async function writeRecord(bucket: R2Bucket, id: string, record: UploadRecord): Promise<void> {
  await bucket.put(UPLOAD_PREFIX + id, JSON.stringify(record));
}

/** Returns the record of upload `id`. @throws {Refusal} not_found */
export async function readRecord(bucket: R2Bucket, id: string): Promise<UploadRecord> {
  const object = await bucket.get(UPLOAD_PREFIX + id);
  if (!object) throw new Refusal("not_found", `there is no upload ${id}`);
  return recordSchema.parse(JSON.parse(await object.text()));
}

/** Deletes the record of an upload. */
export async function deleteRecord(bucket: R2Bucket, id: string): Promise<void> {
  await bucket.delete(UPLOAD_PREFIX + id);
}
