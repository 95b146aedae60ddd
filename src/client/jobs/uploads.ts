/** Uploads bodies in parts, several at once, to signed URLs of an edge's bucket, so that the bytes bypass the edge. */

import * as z from "zod/mini";
import type { CompletedUpload, Upload } from "../../protocol/messages.ts";
import { receivedCompletedUpload, receivedUpload } from "../../protocol/received.ts";
import type { Digest } from "../../protocol/digest.ts";
import { connectionReason, isNotPermitted, isPermanentFailure } from "../../base/errors.ts";
import { parseAnswer } from "../answers/parse_answer.ts";
import { type BlobSource, digestOfBlob } from "../digests.ts";
import { requireSuccess } from "../answers/require_success.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../errors.ts";
import { type TransientError, withRetries } from "../retry.ts";
import { Transport, type TransportOptions } from "../transport.ts";

/** An uploaded part. */
export interface UploadedPart {
  /** The number of the part, from 1. */
  readonly number: number;
  /** The header ETag of the answer to the part's PUT. */
  readonly etag: string;
}

/** The state of an unfinished upload. With it, another process can resume the upload within a day. */
export interface UploadProgress {
  /** Id of the upload at the edge. */
  readonly upload: string;
  /** The parts that the bucket has received. */
  readonly parts: readonly UploadedPart[];
}

/** Options of an upload. */
export interface UploadOptions {
  /** The digest of the bytes, if it is known. Otherwise the bytes are read once more to compute it. */
  readonly digest?: Digest;
  /** Number of parts that are sent at the same time. @default 3 */
  readonly concurrency?: number;
  /** An earlier upload of the same bytes to resume. If the edge no longer has it, a new upload begins. */
  readonly resume?: UploadProgress;
  /** Called after each part has arrived. */
  readonly onPart?: (progress: UploadProgress) => void;
  /** Ends the upload when it is aborted. The call then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

const DEFAULT_CONCURRENCY = 3;

/** Uploads to one edge. */
export class Uploads {
  readonly #options: TransportOptions;
  readonly #transport: Transport;

  /** Makes a client. No request is sent yet. @throws {TypeError} if `baseUrl` is not an http or https URL */
  constructor(options: TransportOptions) {
    this.#options = options;
    this.#transport = new Transport(options);
  }

  /**
   * Uploads `source` unless the edge already stores it.
   * @returns the digest of the bytes, `sha256:HEX`, by which a job names them
   * @throws {PareError} if the edge or the bucket refuses a request, or if the bytes have another digest
   * @throws {ConnectionError} if a part still fails after the last attempt. `resume` then sends only the missing parts
   */
  async uploadBlob(
    source: BlobSource | Uint8Array<ArrayBuffer>,
    options: UploadOptions = {},
  ): Promise<Digest> {
    const { signal, resume } = options;
    const blob: BlobSource = source instanceof Uint8Array ? new Blob([source]) : source;
    const digest = options.digest ?? await digestOfBlob(blob, signal);
    if (await this.hasBlob(digest, signal)) return digest;
    const resumedUpload = resume && await this.#findUpload(resume.upload, signal);
    const upload = resumedUpload ?? await this.#begin(blob.size, digest, signal);
    // Another client has completed the same upload since the question above.
    if ("blob" in upload) return upload.blob;
    const uploadedParts = resumedUpload ? resume?.parts ?? [] : [];
    const parts = await this.#putParts(blob, upload, uploadedParts, options);
    const path = `/v1/uploads/${upload.upload}/complete`;
    return (await this.#send(receivedCompletedUpload, "a completed upload", "POST", path, signal, { parts }))
      .blob;
  }

  /** Whether the edge stores the blob with this digest and will store it for at least one more day. */
  async hasBlob(digest: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#transport.send({ method: "HEAD", path: `/v1/blobs/${digest}`, signal });
      return true;
    } catch (error) {
      if (error instanceof PareError && error.status === 404) return false;
      throw error;
    }
  }

  /** Begins an upload. Returns the blob instead if the edge has it already. */
  #begin(size: number, digest: Digest, signal?: AbortSignal): Promise<Upload | CompletedUpload> {
    const answerSchema = z.union([receivedUpload, receivedCompletedUpload]);
    return this.#send(answerSchema, "an upload", "POST", "/v1/uploads", signal, { size, sha256: digest });
  }

  /** Requests an unfinished upload with new signed URLs. Returns undefined if the edge does not have it. */
  async #findUpload(id: string, signal?: AbortSignal): Promise<Upload | undefined> {
    try {
      return await this.#send(receivedUpload, "an upload", "GET", `/v1/uploads/${id}`, signal);
    } catch (error) {
      if (error instanceof PareError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Sends the missing parts, and returns all parts. If a part fails for good, the other requests are aborted. */
  async #putParts(
    source: BlobSource,
    upload: Upload,
    uploadedParts: readonly UploadedPart[],
    { concurrency = DEFAULT_CONCURRENCY, onPart, signal }: UploadOptions,
  ): Promise<readonly UploadedPart[]> {
    const parts = new Map(uploadedParts.map((part) => [part.number, part]));
    const urls = new Map(upload.parts.map(({ number, url }) => [number, url]));
    // All senders take numbers from this one iterator.
    const missingNumbers = [...urls.keys()].filter((number) => !parts.has(number)).values();
    const failure = new AbortController();
    const stopSignal = AbortSignal.any(signal ? [signal, failure.signal] : [failure.signal]);
    const sendParts = async () => {
      for (const number of missingNumbers) {
        const start = (number - 1) * upload.part_size;
        const bytes = await source.slice(start, Math.min(start + upload.part_size, source.size));
        const etag = await this.#putPart(number, bytes, upload.upload, urls, stopSignal);
        parts.set(number, { number, etag });
        onPart?.({ upload: upload.upload, parts: [...parts.values()] });
      }
    };
    try {
      await Promise.all(Array.from({ length: concurrency }, sendParts));
    } catch (error) {
      failure.abort(error);
      throw error;
    }
    return [...parts.values()];
  }

  /** Sends one part and returns its ETag. `urls` has the signed URLs, and is renewed if a URL has expired. */
  #putPart(
    number: number,
    bytes: Blob,
    uploadId: string,
    urls: Map<number, string>,
    signal: AbortSignal,
  ): Promise<string> {
    const { retries, backoffMs, onRetry } = this.#options;
    return withRetries(() => this.#putPartOnce(number, urls.get(number)!, bytes, signal), {
      retries,
      backoffMs,
      signal,
      isTransient: isTransientPartError,
      beforeRetry: async (error, waitMs) => {
        onRetry?.(error, waitMs);
        // A signed URL that the bucket refuses has probably expired while other parts were sent.
        if (!(error instanceof PareError && error.status === 403)) return;
        const renewed = await this.#findUpload(uploadId, signal);
        for (const part of renewed?.parts ?? []) urls.set(part.number, part.url);
      },
    });
  }

  async #putPartOnce(number: number, url: string, bytes: Blob, signal: AbortSignal): Promise<string> {
    const send = this.#options.fetch ?? ((request: Request) => fetch(request));
    let response: Response;
    try {
      response = await send(new Request(url, { method: "PUT", body: bytes, redirect: "manual", signal }));
    } catch (cause) {
      signal.throwIfAborted();
      if (isNotPermitted(cause)) throw cause;
      const isTransient = !isPermanentFailure(cause);
      throw new ConnectionError(`part ${number} of the upload: ${connectionReason(cause)}`, {
        cause,
        isTransient,
      });
    }
    await requireSuccess(response, `part ${number} of the upload`);
    await response.body?.cancel();
    const etag = response.headers.get("ETag");
    if (etag === null) {
      throw new MalformedAnswerError(`part ${number} of the upload: the answer to its PUT has no ETag`);
    }
    return etag;
  }

  /** Sends `message` as JSON and returns the answer, checked against `schema`. */
  async #send<T>(
    schema: z.ZodMiniType<T>,
    expected: string,
    method: "GET" | "POST",
    path: string,
    signal: AbortSignal | undefined,
    message?: unknown,
  ): Promise<T> {
    const body = message === undefined ? undefined : [new TextEncoder().encode(JSON.stringify(message))];
    const headers: Record<string, string> = body ? { "Content-Type": "application/json" } : {};
    const answer = await this.#transport.send({ method, path, body, headers, signal });
    return parseAnswer(schema, answer, path, expected);
  }
}

/** Whether a part can be sent again. The bucket sends 500 if it fails itself, and 403 if the signed URL has expired. */
function isTransientPartError(error: Error): error is TransientError {
  if (error instanceof ConnectionError) return error.isTransient;
  return error instanceof PareError && (error.isTransient || error.status === 500 || error.status === 403);
}
