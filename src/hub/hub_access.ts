/**
 * How the hub is reached: who asks, through which fetch, and how failures are met. What may pass is tried again; what is the user's to
 * change becomes a ModelError that says how; a hub out of reach is told apart, since the cache may serve instead.
 */

import { HubApiError } from "@huggingface/hub";
import pRetry from "p-retry";
import { ModelError } from "../files/model_error.ts";
import { messageOf } from "../text/message_of.ts";

/** Attempts after the first. */
const RETRIES = 4;
const BACKOFF_MS = 500;
const MAX_WAIT_MS = 10_000;
/** Without an answer or a byte for so long, a connection is given up. */
const STALL_MS = 60_000;

/** How to reach the hub. */
export interface HubOptions {
  readonly fetch: typeof fetch;
  /** The hub's address, if it is not the public one's. */
  readonly hubUrl?: string;
  /** Begins with `hf_`. */
  readonly accessToken?: string;
  readonly signal?: AbortSignal;
  /** First wait between attempts in milliseconds; it doubles each time. */
  readonly backoffMs?: number;
  /** Milliseconds without an answer or a byte after which a connection is given up. */
  readonly stallMs?: number;
}

/** No answer, or one that broke off, or one that says to come back later. */
export class HubUnreachable extends Error {
  override readonly name = "HubUnreachable";
}

/** Requests to one hub on behalf of one reference. */
export class HubAccess {
  /** For the functions of `@huggingface/hub`. */
  readonly client: { readonly hubUrl?: string; readonly accessToken?: string; readonly fetch: typeof fetch };
  readonly #reference: string;
  readonly #signal?: AbortSignal;
  readonly #backoffMs: number;
  readonly #stallMs: number;
  /** Ends the requests under way, which come one after another. */
  #live = new AbortController();

  /** @throws {ModelError} the token is none of the hub's */
  constructor(reference: string, options: HubOptions) {
    const { fetch, hubUrl, accessToken, signal, backoffMs = BACKOFF_MS, stallMs = STALL_MS } = options;
    if (accessToken && !accessToken.startsWith("hf_")) {
      throw new ModelError(`${reference}: the access token does not begin with hf_`);
    }
    this.client = {
      hubUrl,
      accessToken: accessToken || undefined,
      fetch: (input, init) => {
        const signals = signal ? [signal, this.#live.signal] : [this.#live.signal];
        return fetch(input, { ...init, signal: AbortSignal.any(signals) });
      },
    };
    this.#reference = reference;
    this.#signal = signal;
    this.#backoffMs = backoffMs;
    this.#stallMs = stallMs;
  }

  /**
   * What `attempt` gives, tried again where it is a {@link HubUnreachable} that it throws.
   * @param progress grows while attempts bring something: then they are not counted
   */
  retry<T>(attempt: () => Promise<T>, progress: () => number = () => 0): Promise<T> {
    let last = progress();
    return pRetry(attempt, {
      retries: RETRIES,
      minTimeout: this.#backoffMs,
      maxTimeout: MAX_WAIT_MS,
      signal: this.#signal,
      shouldRetry: ({ error }) => error instanceof HubUnreachable,
      shouldConsumeRetry: () => {
        const isStuck = progress() === last;
        last = progress();
        return isStuck;
      },
    });
  }

  /**
   * What one request or one read gives.
   * @throws {HubUnreachable} it failed in a way that may pass, or nothing came for long
   * @throws {ModelError} the hub refuses
   */
  async ask<T>(request: () => Promise<T>): Promise<T> {
    const stalled = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      stalled.reject(new Error(`nothing came for ${this.#stallMs / 1000} s`));
      this.#live.abort();
      this.#live = new AbortController();
    }, this.#stallMs);
    try {
      return await Promise.race([request(), stalled.promise]);
    } catch (cause) {
      this.#signal?.throwIfAborted();
      throw this.#asFailure(cause);
    } finally {
      clearTimeout(timer);
    }
  }

  #asFailure(cause: unknown): Error {
    const reason = messageOf(cause);
    const status = cause instanceof HubApiError ? cause.statusCode : undefined;
    const says = `${this.#reference}: the hub answers ${status}: ${reason}`;
    if (status === 404) return new ModelError(`${says}. There is no such model or revision`, { cause });
    if (status === 401 || status === 403) {
      const way = this.client.accessToken
        ? "The token in HF_TOKEN gives no access to it: accept the model's terms on its page, or use another"
        : "The model is not there, is private, or wants its terms accepted: accept them and set HF_TOKEN";
      return new ModelError(`${says}. ${way}`, { cause });
    }
    if (status !== undefined && status < 500 && status !== 429) return new ModelError(says, { cause });
    return new HubUnreachable(`${this.#reference}: the hub cannot be reached: ${reason}`, { cause });
  }
}
