/**
 * Bytes by their sha-256 in an R2 bucket. The bytes lie under a name of their own, `objects/UUID`, and are a blob only once
 * `blobs/HEX`, an empty object whose metadata names them, points there: written when their digest is known to be HEX. So
 * what is unverified or wrong is never found under a digest, and what is found is never overwritten.
 */

import type { Digest } from "../../protocol/digest.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { R2Bucket, R2Object } from "../runtime.ts";
import { wholeNumber } from "../settings.ts";
import { sha256OfStream } from "./stream_digest.ts";

/** Where pointers, bytes and uploads under way are kept. */
export const BLOB_PREFIX = "blobs/", OBJECT_PREFIX = "objects/", UPLOAD_PREFIX = "uploads/";

const DAY_MILLISECONDS = 86_400_000;
const DEFAULT_BLOB_DAYS = 7;

/**
 * A blob is not said to be there in the last of its days: whoever relies on the answer still has a day to use it. An upload and a
 * signed URL live no longer than that either.
 */
export const GRACE_MILLISECONDS = DAY_MILLISECONDS;

/** A blob in the bucket. */
export interface StoredBlob {
  readonly digest: Digest;
  /** Key of the object that holds the bytes. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** When the blob came to be. */
  readonly stored: Date;
}

/** The bucket of the deployment. @throws {Refusal} unsupported where there is none */
export function bucketOf(env: EdgeBindings): R2Bucket {
  if (!env.BLOBS) {
    throw new Refusal("unsupported", "this edge stores no blobs: the bucket BLOBS is not bound");
  }
  return env.BLOBS;
}

/** Milliseconds that a blob is kept. @throws {RangeError} on a setting that leaves no day to use one in */
export function blobLifetime(env: EdgeBindings): number {
  return wholeNumber(env, "EDGE_BLOB_DAYS", DEFAULT_BLOB_DAYS, 2) * DAY_MILLISECONDS;
}

/** A fresh key for bytes that are to come. */
export function newObjectKey(): string {
  return OBJECT_PREFIX + crypto.randomUUID();
}

/** The blob of a digest, for as long as its bytes are kept. */
export async function findBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const pointer = await bucketOf(env).head(pointerKey(digest));
  return pointer ? readPointer(pointer) : undefined;
}

/** The blob of a digest, if it will still be there for {@link GRACE_MILLISECONDS}. */
export async function findLastingBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const blob = await findBlob(env, digest);
  return blob && Date.now() - blob.stored.getTime() < blobLifetime(env) - GRACE_MILLISECONDS
    ? blob
    : undefined;
}

/**
 * Makes the bytes at `key` the blob of `digest`, which whoever calls has checked. Where that blob is there already the new bytes are
 * dropped.
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
 * Hashes the bytes at `key`, natively as they stream, and makes them the blob of `digest`; deletes them where they are not.
 * @throws {Refusal} digest_mismatch with `expected` and `got`
 */
export async function verifyBlob(env: EdgeBindings, digest: Digest, key: string): Promise<StoredBlob> {
  const bucket = bucketOf(env);
  const object = await bucket.get(key);
  if (!object) throw new Refusal("not_found", `the bytes of ${digest} are gone`);
  const got = await sha256OfStream(object.body);
  if (got !== digest) {
    await bucket.delete(key);
    throw new Refusal("digest_mismatch", `the ${object.size} bytes sent have digest ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
  return await keepBlob(env, digest, key, object.size);
}

function pointerKey(digest: Digest): string {
  return BLOB_PREFIX + digest.replace(/^sha256:/, "");
}

/** The blob that a pointer names, itself with its metadata. @throws {Error} when something else wrote under `blobs/` */
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
