/** The record of an upload in progress, in the bucket, because the instances of the Worker share no memory. */

import { z } from "zod";
import { digestSchema } from "../../protocol/resources/fields.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { tryParseJson } from "../../base/json.ts";
import { UPLOAD_PREFIX } from "../blobs/store.ts";
import type { R2Bucket } from "../runtime.ts";

const recordSchema = z.object({
  /** The client that began the upload. No other client may use the upload. */
  client: z.string(),
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

export type UploadRecord = z.infer<typeof recordSchema>;

export async function writeRecord(bucket: R2Bucket, id: string, record: UploadRecord): Promise<void> {
  await bucket.put(UPLOAD_PREFIX + id, JSON.stringify(record));
}

/** Returns the record of upload `id`, or undefined if it does not exist or is not valid. */
export async function findRecord(bucket: R2Bucket, id: string): Promise<UploadRecord | undefined> {
  const object = await bucket.get(UPLOAD_PREFIX + id);
  return object ? recordSchema.safeParse(tryParseJson(await object.text())).data : undefined;
}

/** Returns the record of upload `id`. @throws {Refusal} `not_found` also if the upload belongs to another client */
export async function readRecord(bucket: R2Bucket, client: string, id: string): Promise<UploadRecord> {
  const record = await findRecord(bucket, id);
  if (record?.client !== client) throw new Refusal("not_found", `there is no upload ${id}`);
  return record;
}

export async function deleteRecord(bucket: R2Bucket, id: string): Promise<void> {
  await bucket.delete(UPLOAD_PREFIX + id);
}
