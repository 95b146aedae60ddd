/**
 * Brings large bodies to an edge as blobs: in parts, some at a time, by signed URLs that lead past the edge. What is there
 * already is not sent; a part that fails is sent again alone; an upload that was broken off goes on where it was. It knows
 * bytes and their digests, not layers.
 */

import pRetry from "p-retry";
import { type Digest, formatDigest } from "../../protocol/digest.ts";
import { completedSchema, type Upload, type UploadedPart, uploadSchema } from "../../protocol/uploads.ts";
import { ConnectionError, errorFromResponse, PareError } from "../errors.ts";
import { Transport, type TransportOptions } from "../transport.ts";
import { messageOf } from "../../text/message_of.ts";

/** Bytes that can be read from anywhere, any number of times: a `Blob` is one, and a file is soon made one. */
export interface BlobSource {
  /** Bytes. */
  readonly size: number;
  /** The bytes from `start` up to, but not with, `end`. */
  slice(start: number, end: number): Blob | Promise<Blob>;
}

/** An upload as far as it has come: enough to go on with it elsewhere, or later within a day. */
export interface UploadState {
  /** Its id at the edge. */
  readonly upload: string;
  /** The parts that are there. */
  readonly parts: readonly UploadedPart[];
}

/** How to upload. */
export interface UploadOptions {
  /** The digest of the bytes where it is known. Without it they are read once more, by `node:crypto`. */
  readonly digest?: Digest;
  /** Parts on their way at once. */
  readonly concurrency?: number;
  /** An upload of these very bytes to go on with. Where the edge no longer knows it, it begins anew. */
  readonly resume?: UploadState;
  /** Told after each part, in order of arrival. */
  readonly onPart?: (state: UploadState) => void;
  readonly signal?: AbortSignal;
}

const DEFAULT_CONCURRENCY = 3;
const DEFAULT_RETRIES = 5;
const DEFAULT_BACKOFF_MS = 500;
/** Bytes hashed at a time. */
const PIECE_BYTES = 8 * 2 ** 20;

/** Uploads to one edge. */
export class Uploads {
  readonly #options: TransportOptions;
  readonly #transport: Transport;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#transport = new Transport(options);
  }

  /**
   * Brings `source` to the edge, unless it is there.
   * @returns its digest, `sha256:HEX`: the name to give in a job
   * @throws {PareError} when edge or bucket refuse: `digest_mismatch` when the bytes are not those of the digest
   * @throws {ConnectionError} when a part does not get through after the retries; what is there stays for `resume`
   */
  async uploadBlob(
    source: BlobSource | Uint8Array<ArrayBuffer>,
    options: UploadOptions = {},
  ): Promise<Digest> {
    const { signal, resume } = options;
    const blob: BlobSource = source instanceof Uint8Array ? new Blob([source]) : source;
    const digest = options.digest ?? await digestOf(blob, signal);
    if (await this.isThere(digest, signal)) return digest;
    const known = resume && await this.#known(resume.upload, signal);
    const upload = known ?? await this.#begin(blob.size, digest, signal);
    const parts = await this.#putParts(blob, upload, known ? resume?.parts ?? [] : [], options);
    const answer = await this.#send("POST", `/v1/uploads/${upload.upload}/complete`, signal, { parts });
    return completedSchema.parse(answer).blob;
  }

  /** Whether the edge has a blob, for a day at least. */
  async isThere(digest: Digest, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#transport.send({ method: "HEAD", path: `/v1/blobs/${digest}`, signal });
      return true;
    } catch (error) {
      if (error instanceof PareError && error.status === 404) return false;
      throw error;
    }
  }

  async #begin(size: number, digest: Digest, signal?: AbortSignal): Promise<Upload> {
    return uploadSchema.parse(await this.#send("POST", "/v1/uploads", signal, { size, sha256: digest }));
  }

  /** An upload under way, with fresh URLs; undefined where it is not. */
  async #known(id: string, signal?: AbortSignal): Promise<Upload | undefined> {
    try {
      return uploadSchema.parse(await this.#send("GET", `/v1/uploads/${id}`, signal));
    } catch (error) {
      if (error instanceof PareError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Sends the parts that are not `there`. The first that fails for good ends the others. */
  async #putParts(
    source: BlobSource,
    upload: Upload,
    there: readonly UploadedPart[],
    { concurrency = DEFAULT_CONCURRENCY, onPart, signal }: UploadOptions,
  ): Promise<readonly UploadedPart[]> {
    const parts = new Map(there.map((part) => [part.number, part]));
    const urls = new Map(upload.parts.map(({ number, url }) => [number, url]));
    const missing = [...urls.keys()].filter((number) => !parts.has(number)).values();
    const failed = new AbortController();
    const ended = AbortSignal.any(signal ? [signal, failed.signal] : [failed.signal]);
    const sendSome = async () => {
      for (const number of missing) {
        const start = (number - 1) * upload.part_size;
        const bytes = await source.slice(start, Math.min(start + upload.part_size, source.size));
        const etag = await this.#putPart(number, bytes, upload.upload, urls, ended);
        parts.set(number, { number, etag });
        onPart?.({ upload: upload.upload, parts: [...parts.values()] });
      }
    };
    try {
      await Promise.all(Array.from({ length: concurrency }, sendSome));
    } catch (error) {
      failed.abort(error);
      throw error;
    }
    return [...parts.values()];
  }

  /** @returns the part's ETag */
  #putPart(
    number: number,
    bytes: Blob,
    id: string,
    urls: Map<number, string>,
    signal: AbortSignal,
  ): Promise<string> {
    const { retries = DEFAULT_RETRIES, backoffMs = DEFAULT_BACKOFF_MS } = this.#options;
    return pRetry(() => this.#putOnce(number, urls.get(number)!, bytes, signal), {
      retries,
      minTimeout: backoffMs,
      randomize: true,
      signal,
      shouldRetry: ({ error }) => error instanceof ConnectionError || isPassing(error),
      onFailedAttempt: async ({ error, retriesLeft }) => {
        // A signed URL that is refused has most likely expired while the others were sent.
        if (retriesLeft === 0 || !(error instanceof PareError && error.status === 403)) return;
        for (const part of (await this.#known(id, signal))?.parts ?? []) urls.set(part.number, part.url);
      },
    });
  }

  async #putOnce(number: number, url: string, bytes: Blob, signal: AbortSignal): Promise<string> {
    const send = this.#options.fetch ?? ((request: Request) => fetch(request));
    let response: Response;
    try {
      response = await send(new Request(url, { method: "PUT", body: bytes, signal }));
    } catch (cause) {
      signal.throwIfAborted();
      const reason = messageOf(cause);
      throw new ConnectionError(`part ${number} of the upload: ${reason}`, { cause });
    }
    if (!response.ok) throw await errorFromResponse(response);
    await response.body?.cancel();
    const etag = response.headers.get("ETag");
    if (etag === null) throw new TypeError(`part ${number} of the upload: the answer to its PUT has no ETag`);
    return etag;
  }

  async #send(
    method: "GET" | "POST",
    path: string,
    signal: AbortSignal | undefined,
    message?: unknown,
  ): Promise<unknown> {
    const body = message === undefined ? undefined : [new TextEncoder().encode(JSON.stringify(message))];
    const headers: Record<string, string> = body ? { "Content-Type": "application/json" } : {};
    const answer = await this.#transport.send({ method, path, body, headers, signal });
    return JSON.parse(new TextDecoder().decode(answer));
  }
}

/** What a bucket answers to a part that may pass: overload, a fault of its own, a URL that expired. */
function isPassing(error: Error): boolean {
  return error instanceof PareError && (error.passing || error.status === 500 || error.status === 403);
}

/** The sha-256 of a source, read piece by piece. Loaded when it is needed: not every place with a `fetch` has `node:crypto`. */
async function digestOf(source: BlobSource, signal?: AbortSignal): Promise<Digest> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  for (let start = 0; start < source.size; start += PIECE_BYTES) {
    signal?.throwIfAborted();
    const piece = await source.slice(start, Math.min(start + PIECE_BYTES, source.size));
    hash.update(new Uint8Array(await piece.arrayBuffer()));
  }
  return formatDigest(hash.digest());
}
