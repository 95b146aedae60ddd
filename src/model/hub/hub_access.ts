/**
 * Sends requests to the Hugging Face hub and classifies their failures. A transient failure, such as a broken
 * connection or a status 503, becomes a {@link HubUnreachable}, which `retry` repeats. A permanent failure, such as a
 * missing model or token, becomes a ModelError with advice for the user.
 */

import pRetry from "p-retry";
import * as z from "zod/mini";
import { HubApiError, InvalidApiResponseFormatError, type ListFileEntry, listFiles } from "@huggingface/hub";
import { ModelError } from "../../base/files/file_error.ts";
import { type AnswerForm, checkedFetch, withoutForeignToken } from "./limited_fetch.ts";
import { connectionReason, isNotPermitted, isPermanentFailure } from "../../base/errors.ts";
import { dirname } from "node:path/posix";
import type { Repository } from "./cache.ts";

/** The number of attempts after the first one. */
const RETRIES = 4;
const BACKOFF_MS = 500;
const MAX_WAIT_MS = 10_000;
/** A request or a read that takes longer than this is aborted. */
const STALL_MS = 60_000;

export interface HubOptions {
  readonly fetch: typeof fetch;
  /** The address of the hub. @default the public hub, https://huggingface.co */
  readonly hubUrl?: string;
  /** A user's access token, which begins with `hf_`. */
  readonly accessToken?: string;
  readonly signal?: AbortSignal;
  /** The wait before the second attempt, in milliseconds. Each further wait is twice as long. @default 500 */
  readonly backoffMs?: number;
  /** The milliseconds without a response or a byte of a download before a request is aborted. @default 60000 */
  readonly stallMs?: number;
  /** The end of the message if the hub refuses access. @default advice on reading a model */
  readonly advice?: string;
  /** Called after each failure that is followed by another attempt, with the milliseconds until that attempt. */
  readonly onRetry?: (error: Error, waitMs: number) => void;
}

/** A transient failure: no response, an interrupted response, or a status that asks the client to try again later. */
export class HubUnreachable extends Error {
  override readonly name = "HubUnreachable";
}

/** Sends the requests for one model reference, such as `hf:OWNER/NAME`, to the hub. */
export class HubAccess {
  /** The options to pass to the functions of `@huggingface/hub`. */
  readonly client: { readonly hubUrl?: string; readonly accessToken?: string; readonly fetch: typeof fetch };
  readonly #reference: string;
  readonly #options: HubOptions;
  /** Aborts the current request. Requests are sent one after another. */
  #current = new AbortController();

  /**
   * @param reference the model reference, for error messages
   * @throws {ModelError} if the access token does not begin with `hf_`
   */
  constructor(reference: string, options: HubOptions) {
    const { hubUrl, accessToken, signal } = options;
    if (accessToken && !accessToken.startsWith("hf_")) {
      throw new ModelError(`${reference}: the access token does not begin with hf_`);
    }
    const fetch = withoutForeignToken(options.fetch, hubUrl, accessToken);
    this.client = {
      hubUrl,
      accessToken: accessToken || undefined,
      fetch: (input, init) => {
        const signals = [init?.signal, signal, this.#current.signal].filter((given) =>
          given instanceof AbortSignal
        );
        return fetch(input, { ...init, signal: AbortSignal.any(signals) });
      },
    };
    this.#reference = reference;
    this.#options = options;
  }

  /**
   * Calls `attempt` again after a {@link HubUnreachable}, at most 4 times.
   * @param progress returns a number that grows with the progress of all attempts, such as the bytes received. A failed
   * attempt that made progress does not count as one of the 4
   */
  retry<T>(attempt: () => Promise<T>, progress: () => number = () => 0): Promise<T> {
    let lastProgress = progress();
    const { backoffMs = BACKOFF_MS, signal, onRetry } = this.#options;
    return pRetry(attempt, {
      retries: RETRIES,
      minTimeout: backoffMs,
      maxTimeout: MAX_WAIT_MS,
      signal,
      shouldRetry: ({ error }) => error instanceof HubUnreachable,
      onFailedAttempt: ({ error, retriesLeft, retryDelay }) => {
        if (retriesLeft > 0 && error instanceof HubUnreachable) onRetry?.(error, retryDelay);
      },
      shouldConsumeRetry: () => {
        const madeNoProgress = progress() === lastProgress;
        lastProgress = progress();
        return madeNoProgress;
      },
    });
  }

  /**
   * Runs one request, or one read from a response, with a timeout.
   * @throws {HubUnreachable} at a transient failure or a timeout
   * @throws {ModelError} if the hub refuses the request
   */
  async request<T>(send: () => Promise<T>): Promise<T> {
    const stalled = Promise.withResolvers<never>(), { stallMs = STALL_MS } = this.#options;
    const timer = setTimeout(() => {
      stalled.reject(new Error(`no data for ${stallMs / 1000} s`));
      this.#current.abort();
      this.#current = new AbortController();
    }, stallMs);
    try {
      return await this.attempt(() => Promise.race([send(), stalled.promise]));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs requests whose times the caller limits. @throws the errors of {@link request} */
  async attempt<T>(send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (cause) {
      this.#options.signal?.throwIfAborted();
      if (isNotPermitted(cause)) throw cause;
      throw this.#classify(cause);
    }
  }

  #classify(cause: unknown): Error {
    if (cause instanceof ModelError) return new ModelError(`${this.#reference}: ${cause.message}`, { cause });
    const reason = connectionReason(cause);
    const status = cause instanceof HubApiError ? cause.statusCode : undefined;
    const message = `${this.#reference}: the hub responded with status ${status}: ${reason}`;
    if (status === 404) return new ModelError(`${message}. There is no such model or revision`, { cause });
    if (status === 401 || status === 403) {
      const advice = this.#options.advice ??
        (this.client.accessToken
          ? "The token in HF_TOKEN gives no access to the model: accept its terms on its page, or use another token"
          : "The model does not exist, is private, or has terms that must be accepted: accept them and set HF_TOKEN");
      return new ModelError(`${message}. ${advice}`, { cause });
    }
    if (status !== undefined && status < 500 && status !== 429) return new ModelError(message, { cause });
    if (cause instanceof InvalidApiResponseFormatError || isPermanentFailure(cause)) {
      return new ModelError(`${this.#reference}: the hub sent a malformed answer: ${reason}`, { cause });
    }
    return new HubUnreachable(`${this.#reference}: the hub cannot be reached: ${reason}`, { cause });
  }
}

/** The form of a listing. A page of the hub has up to 1000 files, and the largest models have a few hundred. */
const FILE_LIST: AnswerForm = {
  schema: z.array(z.object({ type: z.string(), path: z.string(), size: z.int().check(z.minimum(0)) })),
  maxPages: 20,
  name: "a list of files",
};

/**
 * Lists the files in a folder of one commit, by their paths in the repository. Files in other folders are left out.
 * @param folder the path of the folder, by default the top folder
 * @throws {ModelError} if the listing is malformed or has too many pages
 */
export async function listFolder(
  access: HubAccess,
  repo: Repository,
  commit: string,
  folder?: string,
): Promise<Map<string, ListFileEntry>> {
  const entries = new Map<string, ListFileEntry>();
  const client = { ...access.client, fetch: checkedFetch(access.client.fetch, FILE_LIST) };
  for await (const entry of listFiles({ ...client, repo, revision: commit, path: folder })) {
    const isHere = dirname(entry.path) === (folder ?? ".") && !entry.path.includes("\\");
    if (entry.type === "file" && isHere) entries.set(entry.path, entry);
  }
  return entries;
}
