/**
 * The types of R2, Cloudflare's object store. This folder declares the types of the Workers runtime, limited
 * to the members that the edge (Pare's Worker) uses. The runtime's own type package is not used, because it
 * declares globals that contradict those of the DOM. Tests implement these interfaces.
 */

/** An object of a bucket, without its bytes. */
export interface R2Object {
  readonly key: string;
  /** The size in bytes. */
  readonly size: number;
  /** The time at which the object was written. */
  readonly uploaded: Date;
  readonly customMetadata?: Readonly<Record<string, string>>;
}

/** An object with its bytes, or with the requested range of them. */
export interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  text(): Promise<string>;
}

/** An uploaded part of a multipart upload. */
export interface R2UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

/** A multipart upload in progress. */
export interface R2MultipartUpload {
  readonly uploadId: string;
  complete(parts: readonly R2UploadedPart[]): Promise<R2Object>;
  abort(): Promise<void>;
}

/** One page of a listing. */
export interface R2Objects {
  readonly objects: readonly R2Object[];
  /** Whether more pages follow. If so, the next page begins at `cursor`. */
  readonly truncated: boolean;
  readonly cursor?: string;
}

/** A bucket. Reads see every write that was acknowledged before. */
export interface R2Bucket {
  head(key: string): Promise<R2Object | null>;
  get(
    key: string,
    options?: { range?: { offset: number; length: number } },
  ): Promise<R2ObjectBody | null>;
  put(
    key: string,
    value: string,
    options?: { customMetadata?: Record<string, string> },
  ): Promise<R2Object | null>;
  delete(keys: string | string[]): Promise<void>;
  list(options: {
    prefix: string;
    cursor?: string;
    include?: "customMetadata"[];
  }): Promise<R2Objects>;
  createMultipartUpload(key: string): Promise<R2MultipartUpload>;
  resumeMultipartUpload(key: string, uploadId: string): R2MultipartUpload;
}
