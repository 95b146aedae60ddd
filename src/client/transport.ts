/** Sends HTTP requests to one server, and repeats them after transient failures. */

import { abortable, sleep } from "../base/waiting.ts";
import { requireSuccess } from "./answers/require_success.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "./errors.ts";
import { readResponseBody } from "./read_response_body.ts";
import { BodyBlob, type BodyPart } from "./request_body.ts";
import { type TransientError, withRetries } from "./retry.ts";
import { connectionReason, isNotPermitted, isPermanentFailure } from "../base/errors.ts";

/** The server, and options of the requests to it. */
export interface TransportOptions {
  /** The URL of the server, such as `http://127.0.0.1:8000`. It may have a path, to which `/v1/…` is appended. */
  readonly baseUrl: string;
  /** The API key. It is sent as `Authorization: Bearer …`. */
  readonly apiKey?: string;
  /** The function that sends a request. @default the global `fetch` */
  readonly fetch?: (request: Request) => Promise<Response> | Response;
  /** The request handler of a server in this process. It replaces `fetch`, and gets bodies without a copy. */
  readonly application?: (request: Request) => Promise<Response> | Response;
  /** Number of attempts after the first one, if a request fails transiently. @default 5 */
  readonly retries?: number;
  /** First pause between attempts in milliseconds, which doubles. Retry-After can make it longer. @default 500 */
  readonly backoffMs?: number;
  /** Called after each failure that is followed by another attempt, with the milliseconds until that attempt. */
  readonly onRetry?: (error: TransientError, waitMs: number) => void;
  /** Called with the id and the number of layers of each submitted job. A job may be submitted more than once. */
  readonly onJob?: (id: string, layers: number) => void;
}

/** A request. It may be sent several times, because all requests of the HTTP contract can be repeated safely. */
export interface TransportRequest {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly query?: URLSearchParams;
  /** The parts of the body, in order. The body is a safetensors file unless `headers` has another Content-Type. */
  readonly body?: readonly BodyPart[];
  readonly headers?: Readonly<Record<string, string>>;
  /** The largest accepted length of the body of the answer, in bytes. @default 32 MiB */
  readonly maxAnswerBytes?: number;
  readonly signal?: AbortSignal;
}

/** The largest answer in JSON, in bytes. It is a job, which has at most 4096 layers of a few KiB each. */
const MAX_JSON_BYTES = 2 ** 25;
/** The most answers with status 303 that are followed. Modal sends one every 150 seconds, so a request may take an hour. */
const MAX_FOLLOWED = 24;
const MAX_BACKOFF_MS = 30_000;
/** The longest Retry-After that is waited for. If a server asks for a longer pause, its error is thrown at once. */
const MAX_RETRY_AFTER_SECONDS = 300;

export class Transport {
  readonly #options: TransportOptions;
  readonly #baseUrl: URL;
  readonly #fetch: (request: Request) => Promise<Response> | Response;
  #hasAnswered = false;

  /** @throws {TypeError} if `baseUrl` is not an http or https URL */
  constructor(options: TransportOptions) {
    this.#options = options;
    this.#baseUrl = parseBaseUrl(options.baseUrl);
    this.#fetch = options.application ?? options.fetch ?? ((request) => fetch(request));
  }

  /**
   * Sends `request` and returns the body of the answer.
   * @throws {PareError} if the server refuses the request. Transient refusals are thrown after the last attempt
   * @throws {ConnectionError} if no attempt received a whole answer
   * @throws {MalformedAnswerError} if the answer is longer than `maxAnswerBytes`, or if it redirects to another URL
   * @throws the signal's reason as soon as the signal is aborted
   */
  send(request: TransportRequest): Promise<Uint8Array<ArrayBuffer>> {
    const { retries, backoffMs, onRetry } = this.#options, { signal } = request;
    return withRetries(() => this.#sendOnce(request), {
      retries,
      backoffMs,
      maxBackoffMs: MAX_BACKOFF_MS,
      signal,
      isTransient,
      beforeRetry: async (error, retryDelayMs) => {
        const waitMs = Math.max(retryDelayMs, 1000 * retryAfter(error));
        onRetry?.(error, waitMs);
        // The backoff pause follows this function, so only the rest of the Retry-After is waited for here.
        await sleep(waitMs - retryDelayMs, signal);
      },
    });
  }

  async #sendOnce(request: TransportRequest): Promise<Uint8Array<ArrayBuffer>> {
    const body = request.body && new BodyBlob(request.body);
    const built = await this.#toRequest(request, body);
    try {
      // The handler of an application may ignore the request's signal, so the wait for its answer is ended here.
      return await abortable(this.#fetchBody(built, request), request.signal);
    } catch (error) {
      request.signal?.throwIfAborted();
      if (body?.failure) throw body.failure.error;
      if (error instanceof PareError || error instanceof MalformedAnswerError || isNotPermitted(error)) {
        throw error;
      }
      throw this.#connectionError(error);
    }
  }

  async #fetchBody(
    request: Request,
    { maxAnswerBytes = MAX_JSON_BYTES }: TransportRequest,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#fetchResult(request);
    this.#hasAnswered = true;
    await requireSuccess(response, this.#baseUrl.origin);
    return await readResponseBody(response, maxAnswerBytes);
  }

  /**
   * Sends a request. A platform such as Modal answers a long request with status 303 and the URL of the result, which is
   * then fetched. The result may be at another URL of the same origin only, because the request for it has the API key.
   */
  async #fetchResult(request: Request): Promise<Response> {
    let response = await this.#fetch(request);
    for (let followed = 0; response.status === 303 && followed < MAX_FOLLOWED; followed++) {
      const location = response.headers.get("Location");
      const url = location && URL.canParse(location, request.url)
        ? new URL(location, request.url)
        : undefined;
      if (url?.origin !== new URL(request.url).origin) break;
      await response.body?.cancel();
      const headers = new Headers(request.headers);
      for (const name of ["Content-Type", "Content-Length"]) headers.delete(name);
      response = await this.#fetch(new Request(url, { headers, redirect: "manual", signal: request.signal }));
    }
    return response;
  }

  /**
   * Converts a failure. In a page, a server that has never answered probably permits no requests of the page, so the
   * failure is permanent.
   */
  #connectionError(cause: unknown): ConnectionError {
    const { origin } = this.#baseUrl, page = pageOrigin();
    if (page === undefined || page === origin || this.#hasAnswered) {
      const isTransient = !isPermanentFailure(cause);
      return new ConnectionError(`${origin}: ${connectionReason(cause)}`, { cause, isTransient });
    }
    return new ConnectionError(
      `${origin}: the browser received no answer. Either the server cannot be reached, or it does not permit requests of this page: ` +
        `PARE_CORS_ORIGINS of the server must contain ${page}`,
      { cause, isTransient: false },
    );
  }

  async #toRequest(
    { method, path, query, headers: extraHeaders = {}, signal }: TransportRequest,
    body: BodyBlob | undefined,
  ): Promise<Request> {
    const url = new URL(path.replace(/^\//, ""), this.#baseUrl);
    if (query) url.search = query.toString();
    const headers = new Headers();
    if (this.#options.apiKey) headers.set("Authorization", `Bearer ${this.#options.apiKey}`);
    if (body) {
      headers.set("Content-Type", "application/vnd.safetensors");
      headers.set("Content-Length", String(body.size));
    }
    for (const [name, value] of Object.entries(extraHeaders)) headers.set(name, value);
    // A body that is a stream needs `duplex`, which the type lacks.
    const init: RequestInit & { duplex: "half" } = {
      method,
      headers,
      body: this.#options.application ? body?.stream() : body,
      duplex: "half",
      // Only #fetchResult follows a redirect, because any other redirect could send the layer to another server.
      redirect: "manual",
      signal,
    };
    const request = new Request(url, init);
    return !body || body.isOpened ? request : new Request(url, { ...init, body: await body.copy() });
  }
}

function parseBaseUrl(text: string): URL {
  // Node 20 has no URL.parse.
  const url = URL.canParse(text) ? new URL(text.endsWith("/") ? text : `${text}/`) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`server URL "${text}": must be an http or https URL, such as http://127.0.0.1:8000`);
  }
  return url;
}

/** Returns the origin of the page if this code runs in a browser. */
function pageOrigin(): string | undefined {
  const { document, location } = globalThis as { document?: unknown; location?: { origin: string } };
  return document === undefined ? undefined : location?.origin;
}

/** Whether the same request may succeed later, within {@link MAX_RETRY_AFTER_SECONDS}. */
function isTransient(error: Error): error is TransientError {
  if (error instanceof ConnectionError) return error.isTransient;
  return error instanceof PareError && error.isTransient && retryAfter(error) <= MAX_RETRY_AFTER_SECONDS;
}

/** Returns the seconds that the server asked to wait, or 0. */
function retryAfter(error: TransientError): number {
  return error instanceof PareError ? error.retryAfter ?? 0 : 0;
}

/** Options of one call. */
export interface CallOptions {
  /** Ends the call when it is aborted. The call then throws the signal's reason. */
  readonly signal?: AbortSignal;
}
