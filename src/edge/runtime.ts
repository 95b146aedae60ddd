/**
 * The Workers runtime as the edge uses it: the members that are called, and no more. The runtime's own type package
 * declares them over again as globals that contradict the DOM's, so it is not used; tests may stand in for what is here.
 * Workflows and Durable Objects are described where they are used, in `jobs/` and `hosts/`.
 */

/** An object of an R2 bucket, without its bytes. */
export interface R2Object {
  readonly key: string;
  readonly size: number;
  readonly uploaded: Date;
  readonly customMetadata?: Readonly<Record<string, string>>;
}

/** An object and its bytes, or the range asked for. */
export interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  text(): Promise<string>;
}

/** A part that a multipart upload has. */
export interface R2UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

/** A multipart upload under way. */
export interface R2MultipartUpload {
  readonly uploadId: string;
  complete(parts: readonly R2UploadedPart[]): Promise<R2Object>;
  abort(): Promise<void>;
}

/** One page of a listing. */
export interface R2Objects {
  readonly objects: readonly R2Object[];
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

/** A rate limit; each key has a budget of its own. */
export interface RateLimit {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

/** A cron trigger's event. */
export interface ScheduledController {
  /** Milliseconds since 1970. */
  readonly scheduledTime: number;
}
