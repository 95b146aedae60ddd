/**
 * A bucket in memory, with multipart uploads. It replaces R2, Cloudflare's object store, in tests outside the
 * Workers runtime. Importing this file also defines `crypto.DigestStream`, which only that runtime has.
 */

import type { R2Bucket, R2Object, R2ObjectBody, R2UploadedPart } from "../../src/edge/runtime.ts";

/** An object with its bytes. */
interface StoredObject extends R2Object {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A bucket in memory. `now` is the time at which objects are written, and `calls` lists the operations. */
export class MemoryBucket implements R2Bucket {
  now: number = Date.now();
  readonly calls: string[] = [];
  /** Called before each operation. A test sets this function to run something else in between. */
  before: (call: string) => Promise<void> | void = () => {};
  readonly objects = new Map<string, StoredObject>();
  readonly #uploads = new Map<string, { key: string; parts: Map<number, Uint8Array> }>();

  async head(key: string): Promise<R2Object | null> {
    await this.#begin(`head ${key}`);
    return this.objects.get(key) ?? null;
  }

  async get(
    key: string,
    { range }: { range?: { offset: number; length: number } } = {},
  ): Promise<R2ObjectBody | null> {
    await this.#begin(`get ${key}`);
    const object = this.objects.get(key);
    if (!object) return null;
    const { offset, length } = range ?? { offset: 0, length: object.size };
    const bytes = object.bytes.slice(offset, offset + length);
    return { ...object, body: new Blob([bytes]).stream(), text: () => new Blob([bytes]).text() };
  }

  async put(
    key: string,
    value: string | Uint8Array<ArrayBuffer>,
    { customMetadata }: { customMetadata?: Record<string, string> } = {},
  ): Promise<R2Object> {
    await this.#begin(`put ${key}`);
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const object = { key, size: bytes.byteLength, uploaded: new Date(this.now), customMetadata, bytes };
    this.objects.set(key, object);
    return object;
  }

  async delete(keys: string | string[]): Promise<void> {
    await this.#begin(`delete ${keys}`);
    for (const key of [keys].flat()) this.objects.delete(key);
  }

  async list({ prefix }: { prefix: string }) {
    await this.#begin(`list ${prefix}`);
    const objects = [...this.objects.values()].filter(({ key }) => key.startsWith(prefix));
    return { objects, truncated: false };
  }

  async createMultipartUpload(key: string) {
    await this.#begin(`create ${key}`);
    const uploadId = crypto.randomUUID();
    this.#uploads.set(uploadId, { key, parts: new Map() });
    return this.resumeMultipartUpload(key, uploadId);
  }

  resumeMultipartUpload(key: string, uploadId: string) {
    return {
      uploadId,
      complete: async (parts: readonly R2UploadedPart[]) => {
        await this.#begin(`join ${key}`);
        const stored = this.#requireUpload(uploadId).parts;
        const chunks = parts.map(({ partNumber }) => [...stored.get(partNumber) ?? []]);
        this.#uploads.delete(uploadId);
        return await this.put(key, new Uint8Array(chunks.flat()));
      },
      abort: async () => {
        await this.#begin(`abort ${key}`);
        this.#requireUpload(uploadId);
        this.#uploads.delete(uploadId);
      },
    };
  }

  /** Stores a part, as a PUT to its signed URL does. Returns the ETag. */
  putPart(url: string, bytes: Uint8Array<ArrayBuffer>): string {
    const query = new URL(url).searchParams;
    this.#requireUpload(query.get("uploadId")!).parts.set(Number(query.get("partNumber")), bytes);
    return "etag";
  }

  async #begin(call: string): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }

  /** @throws {Error} with the code of R2 if there is no such upload */
  #requireUpload(uploadId: string) {
    const upload = this.#uploads.get(uploadId);
    if (!upload) throw new Error("The specified multipart upload does not exist. (10024)");
    return upload;
  }
}

/** Hashes what is written to it, like the class of the Workers runtime. */
class DigestStream extends WritableStream<Uint8Array<ArrayBuffer>> {
  readonly digest: Promise<ArrayBuffer>;

  constructor(algorithm: string) {
    const chunks: Uint8Array<ArrayBuffer>[] = [], { promise, resolve } = Promise.withResolvers<ArrayBuffer>();
    super({
      write: (chunk) => void chunks.push(chunk),
      close: async () => resolve(await crypto.subtle.digest(algorithm, await new Blob(chunks).arrayBuffer())),
    });
    this.digest = promise;
  }
}

Object.assign(crypto, { DigestStream });
