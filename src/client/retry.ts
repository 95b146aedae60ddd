/** Repeats a request that failed transiently, with a randomised pause that doubles after each failure. */

import pRetry from "p-retry";
import type { ConnectionError, PareError } from "./errors.ts";

/** An error after which the same request is sent again. */
export type TransientError = PareError | ConnectionError;

export interface RetryOptions {
  /** Number of attempts after the first one. @default 5 */
  readonly retries?: number;
  /** First pause in milliseconds, before it is randomised. @default 500 */
  readonly backoffMs?: number;
  /** Longest pause in milliseconds. @default Infinity */
  readonly maxBackoffMs?: number;
  readonly signal?: AbortSignal;
  /** Whether another attempt may succeed after `error`. */
  readonly isTransient: (error: Error) => error is TransientError;
  /** Called before the pause between a failure and the next attempt. The pause takes `backoffMs` milliseconds. */
  readonly beforeRetry?: (error: TransientError, backoffMs: number) => Promise<void>;
}

const DEFAULT_RETRIES = 5;
const DEFAULT_BACKOFF_MS = 500;

/**
 * Calls `attempt` until it succeeds, at most `retries` times after the first call.
 * @throws the error of the last attempt, or the first error that is not transient
 * @throws the signal's reason as soon as the signal is aborted during a pause
 */
export function withRetries<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { retries = DEFAULT_RETRIES, backoffMs = DEFAULT_BACKOFF_MS, maxBackoffMs = Infinity } = options;
  const { signal, isTransient, beforeRetry } = options;
  return pRetry(attempt, {
    retries,
    minTimeout: backoffMs,
    maxTimeout: maxBackoffMs,
    randomize: true,
    signal,
    shouldRetry: ({ error }) => isTransient(error),
    onFailedAttempt: async ({ error, retriesLeft, retryDelay }) => {
      if (retriesLeft > 0 && isTransient(error)) await beforeRetry?.(error, retryDelay);
    },
  });
}
