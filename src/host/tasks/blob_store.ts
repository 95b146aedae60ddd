/**
 * Reads and writes blobs, which are files in an object store, at signed URLs. A blob is read as a stream, and its
 * digest is checked at the end. It is written as a stream of known length. Only the configured origins are used, and
 * redirects are not followed, so a task cannot make the host call any other address.
 */

import { createHash } from "node:crypto";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Digest, formatDigest, hashedStream } from "../../protocol/digest.ts";
import { SAFETENSORS_TYPE } from "../../protocol/headers.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { messageOf } from "../../base/errors.ts";
import { shortened } from "../../base/texts.ts";

/** A blob that is ready to be read. */
export interface BlobBody {
  readonly totalBytes: number;
  /**
   * The bytes. The iteration throws the refusal `digest_mismatch` if they do not have the requested digest, and
   * `blob_unavailable` if they are incomplete.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** A blob that was written. */
export interface WrittenBlob {
  readonly sha256: Digest;
  readonly bytes: number;
}

/** The longest time without any transfer. */
const IDLE_MILLISECONDS = 60_000;

/** The most characters of a store's error that are read. `shortened` quotes fewer. */
const MAX_KEPT_CHARACTERS = 1000;

export class BlobStore {
  readonly #origins: ReadonlySet<string>;

  /** @param origins the allowed origins, such as `https://ACCOUNT.r2.cloudflarestorage.com` */
  constructor(origins: Iterable<string>) {
    this.#origins = new Set(origins);
  }

  /** Parses the URL of a blob and checks that its origin is allowed. @throws {Refusal} `forbidden` */
  requireAllowed(text: string): URL {
    const url = new URL(text);
    // A `blob:` URL has the origin of the URL inside it.
    if (!/^https?:$/.test(url.protocol) || !this.#origins.has(url.origin)) {
      const allowed = [...this.#origins].join(", ") || "none";
      throw new Refusal("forbidden", `blob origin ${shortened(url.origin)}: must be one of ${allowed}`);
    }
    return url;
  }

  /**
   * Opens a blob.
   * @throws {Refusal} `forbidden` if the origin is not allowed, `blob_unavailable` if the blob cannot be read
   * @throws the signal's reason when it is aborted
   */
  async open(source: { url: string; sha256: Digest }, signal: AbortSignal): Promise<BlobBody> {
    const url = this.requireAllowed(source.url), name = shortened(url.origin + url.pathname);
    const response = await fetch(url, { redirect: "error", signal }).catch((cause) => {
      signal.throwIfAborted();
      throw unavailable(`${name}: ${messageOf(cause)}`, cause);
    });
    if (!response.ok) {
      throw unavailable(`${name}: ${response.status} ${shortened(await response.text())}`);
    }
    const length = response.headers.get("Content-Length");
    if (length === null || response.body === null) {
      await response.body?.cancel();
      throw unavailable(`${name}: the answer has no Content-Length`);
    }
    return { totalBytes: Number(length), bytes: verifiedStream(response.body, source.sha256, name) };
  }

  /**
   * Writes a blob.
   * @param byteLength the length of `body`
   * @throws {Refusal} `forbidden` if the origin is not allowed, `blob_unavailable` if the blob cannot be written
   * @throws the signal's reason when it is aborted, and errors of `body`
   */
  async put(
    target: string,
    body: ReadableStream<Uint8Array>,
    byteLength: number,
    signal: AbortSignal,
  ): Promise<WrittenBlob> {
    const url = this.requireAllowed(target), name = shortened(url.origin + url.pathname);
    // `fetch` would send a stream in chunked encoding, which S3 does not accept.
    const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(url, {
      method: "PUT",
      headers: { "Content-Length": byteLength, "Content-Type": SAFETENSORS_TYPE },
      signal,
      timeout: IDLE_MILLISECONDS,
    });
    request.on(
      "timeout",
      () => request.destroy(new Error(`no data was transferred for ${IDLE_MILLISECONDS / 1000} s`)),
    );
    const responsePromise = new Promise<{ status: number; text: string }>((resolve, reject) => {
      request.on("error", reject);
      request.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => text.length < MAX_KEPT_CHARACTERS && (text += part));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      });
    });
    // The response is awaited only after the body, because an error of the body takes precedence. Until then, an early
    // failure of the response must not count as an unhandled rejection.
    responsePromise.catch(() => {});
    const hash = createHash("sha256");
    const source = Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]);
    let sourceError: unknown;
    source.on("error", (error) => sourceError = error);
    const hashing = new Transform({
      transform(chunk, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    try {
      await pipeline(source, hashing, request);
      const { status, text } = await responsePromise;
      if (status < 200 || status > 299) {
        throw unavailable(`${name}: ${status} ${shortened(text)}`);
      }
    } catch (cause) {
      signal.throwIfAborted();
      if (sourceError !== undefined) throw sourceError;
      if (cause instanceof Refusal) throw cause;
      throw unavailable(`${name}: ${messageOf(cause)}`, cause);
    }
    return { sha256: formatDigest(hash.digest()), bytes: byteLength };
  }
}

/** Yields the chunks of `body`, and checks their digest after the last one. */
async function* verifiedStream(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  digest: Digest,
  name: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const hash = createHash("sha256");
  try {
    yield* hashedStream(body, hash);
  } catch (cause) {
    throw unavailable(`${name}: the connection broke: ${messageOf(cause)}`, cause);
  }
  const got = formatDigest(hash.digest());
  if (got !== digest) {
    throw new Refusal("digest_mismatch", `${name} has the digest ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
}

function unavailable(detail: string, cause?: unknown): Refusal {
  return new Refusal("blob_unavailable", detail, { cause });
}
