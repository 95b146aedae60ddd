/** What the SDK throws: a host's refusal, or a host that could not be heard out. */

import type { Problem } from "../protocol/problem.ts";

/** A host's refusal, as its problem+json body told it. */
export class PareError extends Error {
  override readonly name = "PareError";
  readonly status: number;
  /** The contract's code, such as `not_positive_definite`; `unknown` where the body was no problem+json. */
  readonly code: string;
  /** What the host says went wrong. */
  readonly detail: string;
  readonly requestId: string | undefined;
  /** Seconds the host asked to wait, where it did. */
  readonly retryAfter: number | undefined;
  /** Where larger bodies are taken, with `too_large` of an edge. */
  readonly uploads: string | undefined;

  constructor(status: number, problem: Partial<Problem>, retryAfter?: number) {
    const code = problem.code ?? "unknown";
    const detail = problem.detail ?? problem.title ?? "no detail given";
    super(`${code} (${status}): ${detail}`);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.requestId = problem.request_id;
    this.retryAfter = retryAfter;
    this.uploads = typeof problem.uploads === "string" ? problem.uploads : undefined;
  }

  /** Whether the same request may succeed later. */
  get passing(): boolean {
    return this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/** The host could not be reached, or the connection broke before its answer was whole. The cause says how. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** How much of a body that is no problem+json is worth repeating. */
const MAX_DETAIL = 200;

/** The error a failed response stands for. Consumes the body. */
export async function errorFromResponse(response: Response): Promise<PareError> {
  const text = await response.text();
  const problem = parseProblem(response.headers.get("Content-Type"), text) ??
    { detail: text.trim().slice(0, MAX_DETAIL) || response.statusText || undefined };
  const requestId = problem.request_id ?? response.headers.get("X-Request-Id") ?? undefined;
  return new PareError(
    response.status,
    { ...problem, request_id: requestId },
    parseRetryAfter(response.headers.get("Retry-After")),
  );
}

/** The known fields of a problem+json body; undefined where it is none, as a proxy's page may claim to be. */
function parseProblem(contentType: string | null, text: string): Partial<Problem> | undefined {
  if (!contentType?.includes("json")) return undefined;
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof body !== "object" || body === null || Array.isArray(body)) return undefined;
  const field = (name: string) => {
    const value = (body as Record<string, unknown>)[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    code: field("code") as Problem["code"] | undefined,
    title: field("title"),
    detail: field("detail"),
    request_id: field("request_id"),
    uploads: field("uploads"),
  };
}

/** Seconds from a Retry-After header, which holds seconds or an HTTP date (RFC 9110, 10.2.3). */
function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const seconds = (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}
