/** The errors that the SDK throws when a request fails, and the conversion of an HTTP response to such an error. */

import { tryParseJson } from "../text/try_parse_json.ts";

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

/** The statuses after which the same request may succeed later. */
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** The server answered a request with an error status. */
export class PareError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "PareError";
  /** The HTTP status. */
  readonly status: number;
  /**
   * The error code of the answer, such as `not_positive_definite`. It is `unknown` if the body was not
   * problem+json.
   */
  readonly code: string;
  /** The server's description of the problem. */
  readonly detail: string;
  /** Identifies the request in the server's log. */
  readonly requestId: string | undefined;
  /** Seconds until the server wants the next attempt, if its answer had a Retry-After header. */
  readonly retryAfter: number | undefined;
  /**
   * The URL where an edge, which is Pare's Cloudflare Worker in front of hosts, accepts larger bodies. Set
   * only if the code is `too_large` and the server is an edge.
   */
  readonly uploads: string | undefined;

  /**
   * Makes the error of an answer.
   * @param status the HTTP status
   * @param problem the members of the problem document
   * @param retryAfter seconds until the server wants the next attempt
   */
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

/** The server could not be reached, or the connection broke before the whole answer arrived. `cause` is the original error. */
export class ConnectionError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "ConnectionError";
}

/** The server's answer is not one of the contract. Something other than Pare may serve the URL. */
export class MalformedAnswerError extends TypeError {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "MalformedAnswerError";
}

/** Maximal number of characters that are quoted from a body that is not problem+json. */
const MAX_QUOTED_LENGTH = 200;

/** Converts a response with an error status to an error. Consumes the body of the response. */
export async function errorFromResponse(response: Response): Promise<PareError> {
  const text = await response.text();
  const problem = parseProblem(response.headers.get("Content-Type"), text) ??
    { detail: text.trim().slice(0, MAX_QUOTED_LENGTH) || response.statusText || undefined };
  const requestId = problem.request_id ?? response.headers.get("X-Request-Id") ?? undefined;
  return new PareError(
    response.status,
    { ...problem, request_id: requestId },
    parseRetryAfter(response.headers.get("Retry-After")),
  );
}

/**
 * Reads the fields that the SDK uses from a problem+json body. Returns undefined if the Content-Type is not
 * JSON. Also returns undefined if the body is not a JSON object, because proxies send error pages with a
 * wrong type.
 */
function parseProblem(contentType: string | null, text: string): ProblemFields | undefined {
  if (!contentType?.includes("json")) return undefined;
  const body = tryParseJson(text);
  if (typeof body !== "object" || body === null || Array.isArray(body)) return undefined;
  const field = (name: string) => {
    const value = (body as Record<string, unknown>)[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    code: field("code"),
    title: field("title"),
    detail: field("detail"),
    request_id: field("request_id"),
    uploads: field("uploads"),
  };
}

/** Converts a Retry-After header to seconds. The header holds seconds or an HTTP date (RFC 9110, section 10.2.3). */
function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const seconds = (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}
