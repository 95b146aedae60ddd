/**
 * Exchanges with a Pare host: keys, and retries with backoff on what may pass (429, 502, 503, 504, a broken
 * connection). An answer counts once its body is whole. It knows paths and headers, not layers.
 */

import pRetry, { type RetryContext } from "p-retry";
import { abortable, sleep } from "../async/abort.ts";
import { ConnectionError, errorFromResponse, PareError } from "./errors.ts";
import { readBody } from "./read_body.ts";
import { messageOf } from "../text/message_of.ts";

/** How to reach a host. */
export interface TransportOptions {
  /** Such as `http://127.0.0.1:8000`; a path before `/v1` is kept. */
  readonly baseUrl: string;
  /** Sent as `Authorization: Bearer …`. */
  readonly apiKey?: string;
  /** The `fetch` to use; the global one by default. An app's own handler serves in process. */
  readonly fetch?: (request: Request) => Promise<Response> | Response;
  /** Attempts after the first for a request that may pass later. */
  readonly retries?: number;
  /** First wait between attempts in milliseconds; it doubles each time. A host's Retry-After is waited for at least. */
  readonly backoffMs?: number;
  /** Told of each failure after which the same request is sent again, and in how long. */
  readonly onRetry?: (error: PareError | ConnectionError, waitMs: number) => void;
}

/** A request to be sent, any number of times: every one of the contract is safe to repeat. */
export interface Exchange {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly query?: URLSearchParams;
  /** Parts of the body, in order; a safetensors file unless `headers` says otherwise. */
  readonly body?: readonly Uint8Array<ArrayBuffer>[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

const DEFAULT_RETRIES = 5;
const DEFAULT_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A host that asks for a longer wait is as good as down: the caller is told instead. */
const MAX_RETRY_AFTER_SECONDS = 300;

/** Sends requests to one host. */
export class Transport {
  readonly #baseUrl: URL;
  readonly #apiKey: string | undefined;
  readonly #fetch: (request: Request) => Promise<Response> | Response;
  readonly #retries: number;
  readonly #backoffMs: number;
  readonly #onRetry: TransportOptions["onRetry"];

  /** @throws {TypeError} if `baseUrl` is no http(s) URL */
  constructor(options: TransportOptions) {
    this.#baseUrl = parseBaseUrl(options.baseUrl);
    this.#apiKey = options.apiKey;
    this.#fetch = options.fetch ?? ((request) => fetch(request));
    this.#retries = options.retries ?? DEFAULT_RETRIES;
    this.#backoffMs = options.backoffMs ?? DEFAULT_BACKOFF_MS;
    this.#onRetry = options.onRetry;
  }

  /**
   * The body of the answer to `exchange`.
   * @throws {PareError} when the host refuses, after the retries where that may pass
   * @throws {ConnectionError} when the host cannot be heard out after the retries
   * @throws the signal's reason when aborted, at once
   */
  send(exchange: Exchange): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = exchange;
    return pRetry(() => this.#sendOnce(exchange), {
      retries: this.#retries,
      minTimeout: this.#backoffMs,
      maxTimeout: MAX_BACKOFF_MS,
      randomize: true,
      signal,
      shouldRetry: ({ error }) => isTransient(error),
      onFailedAttempt: (context) => this.#beforeRetry(context, signal),
    });
  }

  /** Tells of the retry, and waits for what a Retry-After asks beyond the backoff that follows. */
  async #beforeRetry({ error, retriesLeft, retryDelay }: RetryContext, signal?: AbortSignal): Promise<void> {
    if (retriesLeft === 0 || !isTransient(error)) return;
    const waitMs = Math.max(retryDelay, 1000 * retryAfter(error));
    this.#onRetry?.(error, waitMs);
    await sleep(waitMs - retryDelay, signal);
  }

  async #sendOnce(exchange: Exchange): Promise<Uint8Array<ArrayBuffer>> {
    const request = this.#request(exchange);
    try {
      // An in-process handler need not heed the request's signal, so the wait for it does.
      return await abortable(this.#exchange(request), exchange.signal);
    } catch (error) {
      exchange.signal?.throwIfAborted();
      if (error instanceof PareError) throw error;
      throw new ConnectionError(`${this.#baseUrl.origin}: ${messageOf(error)}`, { cause: error });
    }
  }

  async #exchange(request: Request): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#fetch(request);
    if (!response.ok) throw await errorFromResponse(response);
    return await readBody(response);
  }

  #request({ method, path, query, body, headers: extra = {}, signal }: Exchange): Request {
    const url = new URL(path.replace(/^\//, ""), this.#baseUrl);
    if (query) url.search = query.toString();
    const headers = new Headers();
    if (this.#apiKey) headers.set("Authorization", `Bearer ${this.#apiKey}`);
    // A Blob, not a stream: a streamed body would be sent chunked and lose its Content-Length.
    const blob = body && new Blob([...body]);
    if (blob) {
      headers.set("Content-Type", "application/vnd.safetensors");
      headers.set("Content-Length", String(blob.size));
    }
    for (const [name, value] of Object.entries(extra)) headers.set(name, value);
    return new Request(url, { method, headers, body: blob, signal });
  }
}

function parseBaseUrl(text: string): URL {
  const url = URL.parse(text.endsWith("/") ? text : `${text}/`);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`server URL "${text}": must be an http or https URL, such as http://127.0.0.1:8000`);
  }
  return url;
}

/** Whether the same request may succeed later. What `#sendOnce` throws is of one of the two classes. */
function isTransient(error: Error): error is PareError | ConnectionError {
  if (error instanceof ConnectionError) return true;
  return error instanceof PareError && error.passing && retryAfter(error) <= MAX_RETRY_AFTER_SECONDS;
}

/** Seconds the host asked to wait. */
function retryAfter(error: Error): number {
  return error instanceof PareError ? error.retryAfter ?? 0 : 0;
}
