/** The errors that the SDK throws when a request fails. */

import { shortMessage } from "../base/texts.ts";

/** The members of a problem document (RFC 9457) that the SDK reads. */
export interface ProblemFields {
  /** The error code. */
  readonly code?: string;
  /** The description of the code. */
  readonly title?: string;
  /** The description of this problem. */
  readonly detail?: string;
  /** Identifies the request in the server's log. */
  readonly request_id?: string;
  /** The URL where an edge accepts larger bodies. */
  readonly uploads?: string;
}

const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** The server answered a request with an error status. */
export class PareError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "PareError";
  /** The HTTP status. */
  readonly status: number;
  /** The error code of the answer, such as `not_positive_definite`, or `unknown` if the body was not problem+json. */
  readonly code: string;
  /** The server's description of the problem. */
  readonly detail: string;
  /** Identifies the request in the server's log. */
  readonly requestId: string | undefined;
  /** Seconds until the server wants the next attempt, if its answer had a Retry-After header. */
  readonly retryAfter: number | undefined;
  /** The URL where an edge accepts larger bodies. Set only if the code is `too_large` and the server is an edge. */
  readonly uploads: string | undefined;

  /** Makes the error of an answer from its problem document. `retryAfter` is in seconds. */
  constructor(status: number, problem: ProblemFields, retryAfter?: number) {
    const code = problem.code ?? "unknown";
    const detail = problem.detail ?? problem.title ?? "no detail given";
    super(`${code} (${status}): ${detail}`);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.requestId = problem.request_id;
    this.retryAfter = retryAfter;
    this.uploads = problem.uploads;
  }

  /** Whether the same request may succeed later. True for the statuses 408, 429, 502, 503 and 504. */
  get isTransient(): boolean {
    return TRANSIENT_STATUSES.has(this.status);
  }
}

/** Options of a {@link ConnectionError}. */
export interface ConnectionErrorOptions extends ErrorOptions {
  /** Whether the same request may succeed later. @default true */
  readonly isTransient?: boolean;
}

/** The server could not be reached, or the connection broke before the answer ended. `cause` is the original error. */
export class ConnectionError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "ConnectionError";
  /** Whether the same request may succeed later. False, for example, for a port to which the runtime never connects. */
  readonly isTransient: boolean;

  /** Makes an error. The message says why the connection failed. */
  constructor(message: string, { isTransient = true, ...options }: ConnectionErrorOptions = {}) {
    super(message, options);
    this.isTransient = isTransient;
  }
}

/** The server's answer breaks the HTTP contract. Something other than Pare may serve the URL. */
export class MalformedAnswerError extends TypeError {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "MalformedAnswerError";

  /** Makes an error. The message names the difference. A long message is shortened. */
  constructor(message: string, options?: ErrorOptions) {
    super(shortMessage(message), options);
  }
}
