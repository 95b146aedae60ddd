/** What the edge remembers of an upload under way, as an object of the bucket: an upload survives every instance of the Worker. */

import { z } from "zod";
import { digestSchema } from "../../protocol/digest.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { UPLOAD_PREFIX } from "../blobs/store.ts";
import type { R2Bucket } from "../runtime.ts";

const recordSchema = z.object({
  digest: digestSchema,
  size: z.int(),
  partBytes: z.int(),
  /** Key of the object that the parts become. */
  key: z.string(),
  /** The multipart upload's own id. */
  multipart: z.string(),
});

/** An upload under way. */
export type UploadRecord = z.infer<typeof recordSchema>;

/** Stores a record under `id`. */
export async function writeRecord(bucket: R2Bucket, id: string, record: UploadRecord): Promise<void> {
  await bucket.put(UPLOAD_PREFIX + id, JSON.stringify(record));
}

/** The record of `id`. @throws {Refusal} not_found */
export async function readRecord(bucket: R2Bucket, id: string): Promise<UploadRecord> {
  const object = await bucket.get(UPLOAD_PREFIX + id);
  if (!object) throw new Refusal("not_found", `no upload ${id} is under way`);
  return recordSchema.parse(JSON.parse(await object.text()));
}

/** Forgets an upload. */
export async function deleteRecord(bucket: R2Bucket, id: string): Promise<void> {
  await bucket.delete(UPLOAD_PREFIX + id);
}
