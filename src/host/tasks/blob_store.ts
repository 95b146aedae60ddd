/**
 * Blobs at signed URLs: read as streams whose digest is checked as they pass, and written as a stream of known length.
 * It fetches from the origins it is given and follows no redirect, so that a task cannot send the host elsewhere.
 */

import { createHash } from "node:crypto";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { formatDigest } from "../../protocol/digest.ts";
import { SAFETENSORS_TYPE } from "../../protocol/media_type.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { messageOf } from "../../text/message_of.ts";

/** A blob about to be read. */
export interface BlobBody {
  readonly totalBytes: number;
  /** Ends in the error `digest_mismatch` or `blob_unavailable` where the bytes are not what was asked for. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** What was written. */
export interface WrittenBlob {
  readonly sha256: string;
  readonly bytes: number;
}

/** Longest that a store may do nothing. */
const IDLE_MILLISECONDS = 60_000;

/** How much of a store's error body is worth repeating. */
const MAX_DETAIL = 300;

/** The blobs of some origins. */
export class BlobStore {
  readonly #origins: ReadonlySet<string>;

  /** @param origins such as `https://ACCOUNT.r2.cloudflarestorage.com`; with none nothing is fetched */
  constructor(origins: Iterable<string>) {
    this.#origins = new Set(origins);
  }

  /** Opens a blob. @throws {Refusal} forbidden, blob_unavailable */
  async open(source: { url: string; sha256: string }, signal: AbortSignal): Promise<BlobBody> {
    const url = this.#allowed(source.url), name = url.origin + url.pathname;
    const response = await fetch(url, { redirect: "error", signal }).catch((cause) => {
      signal.throwIfAborted();
      throw unavailable(`${name}: ${messageOf(cause)}`, cause);
    });
    if (!response.ok) {
      throw unavailable(`${name}: ${response.status} ${(await response.text()).slice(0, MAX_DETAIL)}`);
    }
    const length = response.headers.get("Content-Length");
    if (length === null || response.body === null) {
      await response.body?.cancel();
      throw unavailable(`${name}: the answer has no Content-Length`);
    }
    return { totalBytes: Number(length), bytes: verified(response.body, source.sha256, name) };
  }

  /** Writes `body` of `bytes` bytes. @throws {Refusal} forbidden, blob_unavailable; what the body throws */
  async put(target: string, body: ReadableStream, bytes: number, signal: AbortSignal): Promise<WrittenBlob> {
    const url = this.#allowed(target), name = url.origin + url.pathname;
    // `fetch` would send a stream chunked, which S3 does not take.
    const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(url, {
      method: "PUT",
      headers: { "Content-Length": bytes, "Content-Type": SAFETENSORS_TYPE },
      signal,
      timeout: IDLE_MILLISECONDS,
    });
    request.on(
      "timeout",
      () => request.destroy(new Error(`nothing moved for ${IDLE_MILLISECONDS / 1000} s`)),
    );
    const answered = new Promise<{ status: number; text: string }>((resolve, reject) => {
      request.on("error", reject);
      request.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => text.length < MAX_DETAIL && (text += part));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      });
    });
    answered.catch(() => {}); // it is awaited below, after the body, whose own failure comes first
    const hash = createHash("sha256");
    const source = Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]);
    let failed: unknown;
    source.on("error", (error) => failed = error);
    const hashing = new Transform({
      transform(chunk, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    try {
      await pipeline(source, hashing, request);
      const { status, text } = await answered;
      if (status < 200 || status > 299) throw unavailable(`${name}: ${status} ${text.slice(0, MAX_DETAIL)}`);
    } catch (cause) {
      signal.throwIfAborted();
      if (failed !== undefined) throw failed;
      if (cause instanceof Refusal) throw cause;
      throw unavailable(`${name}: ${messageOf(cause)}`, cause);
    }
    return { sha256: formatDigest(hash.digest()), bytes };
  }

  #allowed(text: string): URL {
    const url = new URL(text);
    if (!this.#origins.has(url.origin)) {
      const allowed = [...this.#origins].join(", ") || "none";
      throw new Refusal("forbidden", `blob origin ${url.origin}: must be one of ${allowed}`);
    }
    return url;
  }
}

async function* verified(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  digest: string,
  name: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of body) {
      hash.update(chunk);
      yield chunk;
    }
  } catch (cause) {
    throw unavailable(`${name}: broke off: ${messageOf(cause)}`, cause);
  }
  const got = formatDigest(hash.digest());
  if (got !== digest) {
    throw new Refusal("digest_mismatch", `${name} is ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
}

function unavailable(detail: string, cause?: unknown): Refusal {
  return new Refusal("blob_unavailable", detail, { cause });
}
