/** The record of an upload in progress. It is stored in the bucket, because the instances of the Worker share no memory. */

import { z } from "zod";
import { digestSchema } from "../../protocol/digest_schema.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { UPLOAD_PREFIX } from "../blobs/store.ts";
import type { R2Bucket } from "../runtime/r2_bucket.ts";

const recordSchema = z.object({
  /** The digest that the whole upload must have. */
  digest: digestSchema,
  /** The size of the whole upload in bytes. */
  size: z.int(),
  /** The size of each part in bytes, except for the last one. */
  partBytes: z.int(),
  /** The key of the object into which the parts are joined. */
  key: z.string(),
  /** The id of R2's multipart upload. */
  multipart: z.string(),
});

/** The record of one upload. */
export type UploadRecord = z.infer<typeof recordSchema>;

/** Stores a record under `id`. */
export async function writeRecord(bucket: R2Bucket, id: string, record: UploadRecord): Promise<void> {
  await bucket.put(UPLOAD_PREFIX + id, JSON.stringify(record));
}

/** Returns the record of upload `id`. @throws {Refusal} `not_found` if there is none */
export async function readRecord(bucket: R2Bucket, id: string): Promise<UploadRecord> {
  const object = await bucket.get(UPLOAD_PREFIX + id);
  if (!object) throw new Refusal("not_found", `there is no upload ${id}`);
  return recordSchema.parse(JSON.parse(await object.text()));
}

/** Deletes the record of an upload. */
export async function deleteRecord(bucket: R2Bucket, id: string): Promise<void> {
  await bucket.delete(UPLOAD_PREFIX + id);
}
