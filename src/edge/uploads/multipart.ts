/**
 * Uploads, implemented with R2's multipart uploads. The edge begins an upload, the client sends the parts to signed URLs, and the edge
 * completes and verifies it. Every step is idempotent, so a client can repeat a request whose answer was lost.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { Upload, UploadedPart } from "../../protocol/uploads.ts";
import type { EdgeBindings } from "../bindings.ts";
import { signedUrl } from "../blobs/signed_urls.ts";
import { bucketOf, findLastingBlob, newObjectKey, type StoredBlob, verifyBlob } from "../blobs/store.ts";
import type { R2Bucket } from "../runtime.ts";
import { wholeNumber } from "../settings.ts";
import { deleteRecord, readRecord, type UploadRecord, writeRecord } from "./record.ts";

/** The part size of the contract. A body of 16 GiB has 256 parts. */
const DEFAULT_PART_BYTES = 64 * 2 ** 20;

/** The smallest part of R2, except for the last one. */
const MIN_PART_BYTES = 5 * 2 ** 20;

/** The lifetime of the URLs: enough for 16 GiB at 10 MB/s with some repeated parts. */
const URL_SECONDS = 6 * 3600;

/** R2's codes for mistakes of the caller: no such upload, no such part, a part that is too small, parts that do not fit. */
const CALLER_MISTAKE = /\((10024|10025|10011|10048)\)\s*$/;

/** Begins an upload of `size` bytes with the digest `digest`. @throws {Refusal} unsupported */
export async function beginUpload(env: EdgeBindings, digest: string, size: number): Promise<Upload> {
  const bucket = bucketOf(env), key = newObjectKey(), id = crypto.randomUUID();
  const partBytes = wholeNumber(env, "EDGE_PART_BYTES", DEFAULT_PART_BYTES, MIN_PART_BYTES);
  const { uploadId } = await bucket.createMultipartUpload(key);
  const record: UploadRecord = { digest, size, partBytes, key, multipart: uploadId };
  await writeRecord(bucket, id, record);
  return await describe(env, id, record);
}

/** Returns an upload in progress with new URLs. @throws {Refusal} not_found */
export async function describeUpload(env: EdgeBindings, id: string): Promise<Upload> {
  return await describe(env, id, await readRecord(bucketOf(env), id));
}

/**
 * Joins the parts and verifies the digest of the result. If the digest is wrong, the upload is deleted.
 * @throws {Refusal} not_found, digest_mismatch, or invalid_parameter if `parts` are not the parts of the upload
 */
export async function completeUpload(
  env: EdgeBindings,
  id: string,
  parts: readonly UploadedPart[],
): Promise<StoredBlob> {
  const bucket = bucketOf(env), record = await readRecord(bucket, id);
  const { digest, key } = record;
  checkNumbers(record, parts);
  const there = await findLastingBlob(env, digest);
  if (there) {
    // The blob was uploaded by another client meanwhile, or by an earlier call of this function.
    if (there.key !== key) await drop(bucket, record);
    return there;
  }
  if (!await bucket.head(key)) await join(bucket, record, parts);
  try {
    return await verifyBlob(env, digest, key);
  } catch (error) {
    if (error instanceof Refusal) await deleteRecord(bucket, id);
    throw error;
  }
}

/** Deletes an upload and its parts. @throws {Refusal} not_found */
export async function abortUpload(env: EdgeBindings, id: string): Promise<void> {
  const bucket = bucketOf(env), record = await readRecord(bucket, id);
  const there = await findLastingBlob(env, record.digest);
  if (there?.key !== record.key) await drop(bucket, record);
  await deleteRecord(bucket, id);
}

/** Deletes the parts or the joined bytes of an upload. */
async function drop(bucket: R2Bucket, { key, multipart }: UploadRecord): Promise<void> {
  try {
    await bucket.resumeMultipartUpload(key, multipart).abort();
  } catch (error) {
    // The upload was joined or aborted already, so there are no parts to delete.
    if (!isMistake(error)) throw error;
  }
  await bucket.delete(key);
}

async function join(
  bucket: R2Bucket,
  { key, multipart }: UploadRecord,
  parts: readonly UploadedPart[],
): Promise<void> {
  const taken = parts.map(({ number, etag }) => ({ partNumber: number, etag: etag.replaceAll('"', "") }));
  try {
    await bucket.resumeMultipartUpload(key, multipart).complete(
      taken.sort((a, b) => a.partNumber - b.partNumber),
    );
  } catch (error) {
    if (!isMistake(error)) throw error;
    // The parts were joined by an earlier call whose answer the client did not receive.
    if (await bucket.head(key)) return;
    throw new Refusal("invalid_parameter", `parts: these are not the parts of the upload: ${error.message}`, {
      cause: error,
    });
  }
}

/** Checks that every part is given exactly once. @throws {Refusal} invalid_parameter */
function checkNumbers(record: UploadRecord, parts: readonly UploadedPart[]): void {
  const count = partCount(record), given = new Set(parts.map(({ number }) => number));
  if (parts.length !== count || given.size !== count || Math.max(...given) > count) {
    throw new Refusal("invalid_parameter", `parts: must be the numbers 1 to ${count}, each once`);
  }
}

async function describe(env: EdgeBindings, id: string, record: UploadRecord): Promise<Upload> {
  const { key, multipart, partBytes } = record;
  const expires = new Date(Date.now() + URL_SECONDS * 1000).toISOString();
  const parts = await Promise.all(Array.from({ length: partCount(record) }, async (_, i) => ({
    number: i + 1,
    url: await signedUrl(env, "PUT", key, URL_SECONDS, { partNumber: String(i + 1), uploadId: multipart }),
  })));
  return { upload: id, part_size: partBytes, parts, expires };
}

function partCount({ size, partBytes }: UploadRecord): number {
  return Math.ceil(size / partBytes);
}

function isMistake(error: unknown): error is Error {
  return error instanceof Error && CALLER_MISTAKE.test(error.message);
}
