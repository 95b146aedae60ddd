/**
 * The types of the Workers runtime that the edge uses. Cloudflare's package declares globals that contradict the
 * globals of the DOM.
 *
 * A Durable Object is a single-threaded object with a database, which all instances of the Worker call by name. An
 * error that a method throws loses its class on the way to the caller. Outcomes that a caller must distinguish are
 * therefore returned.
 */

/** An object of a bucket, without its bytes. */
export interface R2Object {
  readonly key: string;
  readonly size: number;
  readonly uploaded: Date;
  readonly customMetadata?: Readonly<Record<string, string>>;
}

/** An object with its bytes, or with the requested range of them. */
export interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  text(): Promise<string>;
}

export interface R2UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

export interface R2MultipartUpload {
  readonly uploadId: string;
  complete(parts: readonly R2UploadedPart[]): Promise<R2Object>;
  abort(): Promise<void>;
}

export interface R2Objects {
  readonly objects: readonly R2Object[];
  /** Whether more pages follow. If so, the next page begins at `cursor`. */
  readonly truncated: boolean;
  readonly cursor?: string;
}

/** A bucket. Reads see every write that was acknowledged earlier. */
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

export type SqlValue = string | number | null;

/** The SQLite database of one object. Writes without an `await` between them are atomic. */
export interface SqlStorage {
  exec(query: string, ...values: SqlValue[]): { toArray(): Record<string, SqlValue>[] };
}

/** A container that belongs to a Durable Object. */
export interface Container {
  readonly running: boolean;
  start(options: { env: Record<string, string>; enableInternet: boolean }): void;
  /** Returns a port of the container, whose `fetch` fails while no process listens there. */
  getTcpPort(port: number): { fetch(request: Request): Promise<Response> };
  /** Sets the time after the last request at which the runtime stops the container. */
  setInactivityTimeout(milliseconds: number): Promise<void>;
  signal(signal: number): void;
}

export interface DurableObjectState {
  /** Only a class that `containers` of `wrangler.toml` names has a container. */
  readonly container?: Container;
  readonly storage: {
    readonly sql: SqlStorage;
    /** Makes the runtime call the object's `alarm` method at a time in milliseconds since 1970. */
    setAlarm(milliseconds: number): Promise<void>;
    deleteAll(): Promise<void>;
  };
}

export interface DurableObjectNamespace<Methods> {
  /** Returns the object with a name. The runtime creates it when it is first called. */
  getByName(name: string): Methods;
}

/** The methods of `T` as the Worker calls them on a Durable Object: each returns a promise. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>>
    : never;
};

export interface WorkflowInstance {
  readonly id: string;
  /** Returns the status, which is "queued" until the run starts. */
  status(): Promise<{ readonly status: string }>;
  restart(): Promise<void>;
}

export interface Workflow<Params> {
  /** Creates an instance, which starts to run. @throws if the id exists already */
  create(options: { id: string; params: Params }): Promise<{ readonly id: string }>;
  /** Returns an instance. @throws if there is none with this id */
  get(id: string): Promise<WorkflowInstance>;
}

export interface StepConfig {
  readonly retries: { readonly limit: number; readonly delay: string; readonly backoff: "exponential" };
  readonly timeout: string;
}

/** The steps of a run. When a run is resumed, finished steps are not repeated, because their results are stored. */
export interface WorkflowStep {
  do(name: string, config: StepConfig, run: () => Promise<void>): Promise<void>;
}

/** A rate limit with one budget of requests per key. */
export interface RateLimit {
  /** Counts one request of `key`. `success` is false if the budget of the key is used up. */
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

export interface ScheduledController {
  /** The time for which the run was scheduled, in milliseconds since 1970. */
  readonly scheduledTime: number;
}
