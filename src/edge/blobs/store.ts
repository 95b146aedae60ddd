/**
 * Stores blobs, bytes with their sha-256 as the name, in an R2 bucket. The bytes themselves are an object `objects/UUID`. The pointer
 * `blobs/HEX` is an empty object whose metadata has the key of the bytes. It is written only when the digest of the bytes was verified to be
 * HEX. So bytes that are unverified or wrong are never found by a digest, and bytes that are found are never overwritten.
 */

import type { Digest } from "../../protocol/digest.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { R2Bucket, R2Object } from "../runtime.ts";
import { wholeNumber } from "../settings.ts";
import { sha256OfStream } from "./stream_digest.ts";

/** The prefixes of pointers, of bytes, and of records of uploads. */
export const BLOB_PREFIX = "blobs/", OBJECT_PREFIX = "objects/", UPLOAD_PREFIX = "uploads/";

const DAY_MILLISECONDS = 86_400_000;
const DEFAULT_BLOB_DAYS = 7;

/**
 * On the last day of its life a blob is reported as missing, so that a client that was told of a blob has a day to use it. Uploads and
 * signed URLs do not live longer than this either.
 */
export const GRACE_MILLISECONDS = DAY_MILLISECONDS;

/** A blob in the bucket. */
export interface StoredBlob {
  readonly digest: Digest;
  /** The key of the object with the bytes. */
  readonly key: string;
  /** The size in bytes. */
  readonly size: number;
  /** The time at which the blob was stored. */
  readonly stored: Date;
}

/** Returns the bucket. @throws {Refusal} `unsupported` if the binding BLOBS is missing */
export function bucketOf(env: EdgeBindings): R2Bucket {
  if (!env.BLOBS) {
    throw new Refusal("unsupported", "this edge stores no blobs: the bucket BLOBS is not bound");
  }
  return env.BLOBS;
}

/** Returns the lifetime of blobs in milliseconds. @throws {RangeError} if the setting is less than two days */
export function blobLifetime(env: EdgeBindings): number {
  return wholeNumber(env, "EDGE_BLOB_DAYS", DEFAULT_BLOB_DAYS, 2) * DAY_MILLISECONDS;
}

/** Returns a new key for bytes that will be stored. */
export function newObjectKey(): string {
  return OBJECT_PREFIX + crypto.randomUUID();
}

/** Returns the blob with a digest, or undefined if there is none. */
export async function findBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const pointer = await bucketOf(env).head(pointerKey(digest));
  return pointer ? readPointer(pointer) : undefined;
}

/** Returns the blob with a digest if it lives for at least {@link GRACE_MILLISECONDS} more. */
export async function findLastingBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const blob = await findBlob(env, digest);
  return blob && Date.now() - blob.stored.getTime() < blobLifetime(env) - GRACE_MILLISECONDS
    ? blob
    : undefined;
}

/**
 * Makes the bytes at `key` the blob of `digest`. The caller has verified the digest. If the blob exists already, the new bytes are deleted.
 * @returns the blob
 */
export async function keepBlob(
  env: EdgeBindings,
  digest: Digest,
  key: string,
  size: number,
): Promise<StoredBlob> {
  const bucket = bucketOf(env);
  const lasting = await findLastingBlob(env, digest);
  if (lasting) {
    if (lasting.key !== key) await bucket.delete(key);
    return lasting;
  }
  const expiring = await findBlob(env, digest);
  const pointer = await bucket.put(pointerKey(digest), "", { customMetadata: { key, size: String(size) } });
  if (expiring && expiring.key !== key) await bucket.delete(expiring.key);
  return { digest, key, size, stored: pointer?.uploaded ?? new Date() };
}

/**
 * Hashes the bytes at `key` and makes them the blob of `digest`. If the digest is wrong, the bytes are deleted.
 * @throws {Refusal} digest_mismatch with `expected` and `got`
 */
export async function verifyBlob(env: EdgeBindings, digest: Digest, key: string): Promise<StoredBlob> {
  const bucket = bucketOf(env);
  const object = await bucket.get(key);
  if (!object) throw new Refusal("not_found", `the bytes of ${digest} are gone`);
  const got = await sha256OfStream(object.body);
  if (got !== digest) {
    await bucket.delete(key);
    throw new Refusal("digest_mismatch", `the ${object.size} bytes have the digest ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
  return await keepBlob(env, digest, key, object.size);
}

function pointerKey(digest: Digest): string {
  return BLOB_PREFIX + digest.replace(/^sha256:/, "");
}

/** Returns the blob that a pointer names in its metadata. @throws {Error} if the object is not a pointer of this file */
export function readPointer(pointer: R2Object): StoredBlob {
  const { key, size } = pointer.customMetadata ?? {};
  if (key === undefined || size === undefined) {
    throw new Error(`object ${pointer.key}: its metadata names no key and size`);
  }
  return {
    digest: `sha256:${pointer.key.slice(BLOB_PREFIX.length)}`,
    key,
    size: Number(size),
    stored: pointer.uploaded,
  };
}
