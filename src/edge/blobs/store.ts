/**
 * Stores blobs in an R2 bucket. The bytes are in an object `objects/UUID`. An empty object `blobs/HEX`, the pointer,
 * has the key of the bytes in its metadata. The pointer is written only after the bytes have been verified, so nobody
 * finds wrong bytes under a digest.
 */

import type { EdgeBindings } from "../bindings.ts";
import type { R2Bucket, R2Object } from "../runtime.ts";
import { DAY_MILLISECONDS, wholeNumber } from "../settings.ts";
import { type Digest, formatDigest } from "../../protocol/digest.ts";
import { Refusal } from "../../protocol/refusal.ts";

/** The prefixes of the keys of pointers, of bytes, and of the records of uploads. */
export const BLOB_PREFIX = "blobs/", OBJECT_PREFIX = "objects/", UPLOAD_PREFIX = "uploads/";

const DEFAULT_BLOB_DAYS = 7;

/**
 * On the last day of its lifetime a blob is reported as missing, so a client that finds a blob has at least a day to
 * use it. Uploads and signed URLs also expire within this time.
 */
export const GRACE_MILLISECONDS = DAY_MILLISECONDS;

/** The number of objects that are looked up at once. A Worker can wait for six answers of R2 at a time. */
export const MAX_CONCURRENT_LOOKUPS = 6;

export interface StoredBlob {
  readonly digest: Digest;
  /** The key of the object with the bytes. */
  readonly key: string;
  readonly size: number;
  readonly stored: Date;
}

/** Returns the bucket. @throws {Refusal} `unsupported` if the binding BLOBS is missing */
export function requireBucket(env: EdgeBindings): R2Bucket {
  if (!env.BLOBS) {
    throw new Refusal("unsupported", "this edge stores no blobs, because the bucket BLOBS is not bound");
  }
  return env.BLOBS;
}

/** Returns the lifetime of blobs in milliseconds. @throws {RangeError} if `EDGE_BLOB_DAYS` is invalid */
export function blobLifetime(env: EdgeBindings): number {
  return wholeNumber(env, "EDGE_BLOB_DAYS", DEFAULT_BLOB_DAYS, 2) * DAY_MILLISECONDS;
}

export function newObjectKey(): string {
  return OBJECT_PREFIX + crypto.randomUUID();
}

/** Returns the blob with this digest, or undefined if there is none. Its bytes may be missing. */
export async function findBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const pointer = await requireBucket(env).head(pointerKey(digest));
  return pointer ? readPointer(pointer) : undefined;
}

/** Returns the blob with this digest if its bytes exist and will exist for at least {@link GRACE_MILLISECONDS}. */
export async function findFreshBlob(env: EdgeBindings, digest: Digest): Promise<StoredBlob | undefined> {
  const blob = await findBlob(env, digest);
  return blob && isFresh(env, blob) && await requireBucket(env).head(blob.key) ? blob : undefined;
}

/** Whether a blob will exist for at least another day ({@link GRACE_MILLISECONDS}). */
export function isFresh(env: EdgeBindings, { stored }: StoredBlob): boolean {
  return Date.now() - stored.getTime() < blobLifetime(env) - GRACE_MILLISECONDS;
}

/**
 * Makes the bytes at `key`, whose digest is verified, the blob with this digest. If such a blob exists already and is
 * not on its last day, deletes the new bytes and returns the existing blob.
 * @throws {Refusal} `not_found` if the bytes were deleted before they became a blob
 */
async function publishBlob(
  env: EdgeBindings,
  digest: Digest,
  key: string,
  size: number,
): Promise<StoredBlob> {
  const bucket = requireBucket(env);
  const fresh = await findFreshBlob(env, digest);
  if (fresh) {
    if (fresh.key !== key) await bucket.delete(key);
    return fresh;
  }
  const expiring = await findBlob(env, digest);
  await bucket.put(pointerKey(digest), "", { customMetadata: { key, size: String(size) } });
  if (expiring && expiring.key !== key) await bucket.delete(expiring.key);
  // The blob is looked up again, because another request may have deleted the bytes or replaced the pointer.
  const published = await findFreshBlob(env, digest);
  if (!published) throw deletedBytes(digest);
  return published;
}

/**
 * Hashes the bytes at `key` and makes them the blob with this digest. Bytes with another digest are deleted.
 * @throws {Refusal} `digest_mismatch` with `expected` and `got`, or `not_found` if there are no bytes
 */
export async function verifyBlob(env: EdgeBindings, digest: Digest, key: string): Promise<StoredBlob> {
  const bucket = requireBucket(env);
  const object = await bucket.get(key);
  if (!object) throw deletedBytes(digest);
  const got = await sha256OfStream(object.body);
  if (got !== digest) {
    await bucket.delete(key);
    throw new Refusal("digest_mismatch", `the ${object.size} bytes have the digest ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
  return await publishBlob(env, digest, key, object.size);
}

export function deletedBytes(digest: Digest): Refusal {
  return new Refusal("not_found", `the bytes of ${digest} were deleted`);
}

function pointerKey(digest: Digest): string {
  return BLOB_PREFIX + digest.replace(/^sha256:/, "");
}

/** Returns the blob of a pointer, or undefined if its metadata is incomplete. The next upload then replaces it. */
export function readPointer(pointer: R2Object): StoredBlob | undefined {
  const { key, size } = pointer.customMetadata ?? {};
  if (key === undefined || size === undefined) return undefined;
  return {
    digest: `sha256:${pointer.key.slice(BLOB_PREFIX.length)}`,
    key,
    size: Number(size),
    stored: pointer.uploaded,
  };
}

/** The class of Web Crypto that only the Workers runtime has. */
interface StreamingCrypto {
  readonly DigestStream: new (
    algorithm: "SHA-256",
  ) => WritableStream & { readonly digest: Promise<ArrayBuffer> };
}

/** Reads a stream to its end and returns its digest. @throws the stream's error */
async function sha256OfStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Digest> {
  const sink = new (crypto as unknown as StreamingCrypto).DigestStream("SHA-256");
  await stream.pipeTo(sink);
  return formatDigest(new Uint8Array(await sink.digest));
}
