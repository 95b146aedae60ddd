/** Implements uploads with the multipart uploads of R2. A client can repeat every request whose answer was lost. */

import { joinedItems } from "../../base/texts.ts";
import { invalidParameter, Refusal } from "../../protocol/refusal.ts";
import type { Upload } from "../../protocol/messages.ts";
import type { UploadedParts } from "../../protocol/resources/uploads.ts";
import type { EdgeBindings } from "../bindings.ts";
import { signedUrl } from "../blobs/signed_urls.ts";
import { findFreshBlob, newObjectKey, requireBucket, type StoredBlob, verifyBlob } from "../blobs/store.ts";
import type { R2Bucket, R2Object } from "../runtime.ts";
import { wholeNumber } from "../settings.ts";
import { deleteRecord, readRecord, type UploadRecord, writeRecord } from "./upload_record.ts";

/** The default size of a part in bytes. A body of 16 GiB has 256 such parts. */
const DEFAULT_PART_BYTES = 64 * 2 ** 20;

/** The smallest part in bytes that R2 accepts, except for the last one. */
const MIN_PART_BYTES = 5 * 2 ** 20;

/** The lifetime of the signed URLs in seconds. At 1 MB/s, 16 GiB take less than five hours. */
const URL_SECONDS = 6 * 3600;

/** The codes of the R2 errors that a client causes: the upload or a part does not exist, or parts have wrong sizes. */
const CLIENT_ERROR_CODES = /\((10024|10025|10011|10048)\)\s*$/;

/**
 * Begins an upload of `size` bytes with the digest `digest` for `client`.
 * @throws {Refusal} `unsupported` if the deployment lacks the bucket, its URL or its access key
 */
export async function beginUpload(
  env: EdgeBindings,
  client: string,
  digest: string,
  size: number,
): Promise<Upload> {
  const bucket = requireBucket(env), key = newObjectKey(), id = crypto.randomUUID();
  const partBytes = wholeNumber(env, "EDGE_PART_BYTES", DEFAULT_PART_BYTES, MIN_PART_BYTES);
  const { uploadId } = await bucket.createMultipartUpload(key);
  const record: UploadRecord = { client, digest, size, partBytes, key, multipart: uploadId };
  await writeRecord(bucket, id, record);
  return await signParts(env, id, record);
}

/** Returns an upload in progress with new URLs. @throws {Refusal} `not_found` if `client` has no such upload */
export async function describeUpload(env: EdgeBindings, client: string, id: string): Promise<Upload> {
  return await signParts(env, id, await readRecord(requireBucket(env), client, id));
}

/**
 * Joins the parts, and makes the result a blob if its size and digest are right. Otherwise deletes the upload.
 * @throws {Refusal} `not_found` if `client` has no such upload, `digest_mismatch`, `invalid_parameter` for bad parts
 */
export async function completeUpload(
  env: EdgeBindings,
  client: string,
  id: string,
  parts: UploadedParts,
): Promise<StoredBlob> {
  const bucket = requireBucket(env), record = await readRecord(bucket, client, id);
  const { digest, key } = record;
  checkPartNumbers(record, parts);
  const existing = await findFreshBlob(env, digest);
  if (existing) {
    // Another client uploaded the same blob meanwhile, or an earlier request for this upload has completed it.
    if (existing.key !== key) await deleteBytes(bucket, record);
    return existing;
  }
  const joined = await bucket.head(key) ?? await joinParts(bucket, record, parts);
  try {
    await requireDeclaredSize(bucket, record, joined.size);
    return await verifyBlob(env, digest, key);
  } catch (error) {
    if (error instanceof Refusal) await deleteRecord(bucket, id);
    throw error;
  }
}

/**
 * Deletes an upload and its parts. Joined parts stay, because another request may be about to make them a blob. If none
 * does, garbage collection deletes them.
 * @throws {Refusal} `not_found` if `client` has no such upload
 */
export async function abortUpload(env: EdgeBindings, client: string, id: string): Promise<void> {
  const bucket = requireBucket(env), record = await readRecord(bucket, client, id);
  await deleteParts(bucket, record);
  await deleteRecord(bucket, id);
}

/** Deletes the bytes of an upload, whether they are still parts or have been joined. */
async function deleteBytes(bucket: R2Bucket, record: UploadRecord): Promise<void> {
  await deleteParts(bucket, record);
  await bucket.delete(record.key);
}

/** Deletes the parts of an upload, unless they have been joined. */
async function deleteParts(bucket: R2Bucket, { key, multipart }: UploadRecord): Promise<void> {
  try {
    await bucket.resumeMultipartUpload(key, multipart).abort();
  } catch (error) {
    // R2 reports that the upload does not exist, because it was joined or aborted before. There are no parts to delete.
    if (!isClientError(error)) throw error;
  }
}

/** Deletes joined bytes that have another size than declared. @throws {Refusal} `invalid_parameter` for such bytes */
async function requireDeclaredSize(
  bucket: R2Bucket,
  { key, size }: UploadRecord,
  joined: number,
): Promise<void> {
  if (joined === size) return;
  await bucket.delete(key);
  throw invalidParameter("parts", `have ${joined} bytes together, but the upload declared ${size}`);
}

/** Joins the parts into one object. @throws {Refusal} `invalid_parameter` if R2 refuses the parts */
async function joinParts(
  bucket: R2Bucket,
  { key, multipart }: UploadRecord,
  parts: UploadedParts,
): Promise<R2Object> {
  const r2Parts = parts.map(({ number, etag }) => ({ partNumber: number, etag: etag.replaceAll('"', "") }));
  r2Parts.sort((a, b) => a.partNumber - b.partNumber);
  try {
    return await bucket.resumeMultipartUpload(key, multipart).complete(r2Parts);
  } catch (error) {
    if (!isClientError(error)) throw error;
    // An earlier request, whose answer the client may not have received, has joined the parts.
    const joined = await bucket.head(key);
    if (joined) return joined;
    throw new Refusal("invalid_parameter", `parts: do not match the upload (${error.message})`, {
      cause: error,
    });
  }
}

/** Checks that the list names each part exactly once. @throws {Refusal} `invalid_parameter` */
function checkPartNumbers(record: UploadRecord, parts: UploadedParts): void {
  const count = partCount(record), numbers = new Set(parts.map(({ number }) => number));
  if (parts.length !== count || numbers.size !== count || Math.max(...numbers) > count) {
    const given = joinedItems(parts.map(({ number }) => number));
    throw invalidParameter("parts", `must have each number from 1 to ${count} exactly once, got ${given}`);
  }
}

/** Returns the upload with a new signed URL for each part. */
async function signParts(env: EdgeBindings, id: string, record: UploadRecord): Promise<Upload> {
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

/** Whether R2 reports a mistake of the client. R2's errors have the code in parentheses at the end of their message. */
function isClientError(error: unknown): error is Error {
  return error instanceof Error && CLIENT_ERROR_CODES.test(error.message);
}
