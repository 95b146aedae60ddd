/** Converts failed responses to errors. A server is not trusted, so its texts are shortened and made printable. */

import { tryParseJson } from "../../base/json.ts";
import { printableLine, shortened } from "../../base/texts.ts";
import { MalformedAnswerError, PareError, type ProblemFields } from "../errors.ts";
import { readPrefix } from "../read_response_body.ts";

/** The largest part of an error answer that is read, in bytes. The problems of a Pare server are much shorter. */
const MAX_PROBLEM_BYTES = 2 ** 16;

/** The largest number of characters of a member of a problem. A Pare server sends several hundred at most. */
const MAX_FIELD_LENGTH = 2000;

/**
 * @param server the server that has answered, for the message
 * @throws {PareError} if the status is an error
 * @throws {MalformedAnswerError} if the server redirects. A redirect could send a layer to another server
 */
export async function requireSuccess(response: Response, server: string): Promise<void> {
  const { type, status, ok, headers } = response;
  if (ok) return;
  if (type !== "opaqueredirect" && (status < 300 || status > 399)) throw await errorFromResponse(response);
  await response.body?.cancel();
  const target = quoted(headers.get("Location") ?? "") || "another URL";
  throw new MalformedAnswerError(
    `${server}: redirects to ${target}. Redirects are not followed, because they could send a layer to another server`,
  );
}

/** Converts a response with an error status to an error. Consumes the body of the response. */
export async function errorFromResponse(response: Response): Promise<PareError> {
  const prefix = response.body && await readPrefix(response.body, MAX_PROBLEM_BYTES);
  const text = new TextDecoder().decode(prefix?.bytes);
  const problem = parseProblem(response.headers.get("Content-Type"), text) ??
    { detail: quoted(text) || quoted(response.statusText) || undefined };
  const requestId = problem.request_id ?? quoted(response.headers.get("X-Request-Id") ?? "");
  return new PareError(
    response.status,
    { ...problem, request_id: requestId || undefined },
    parseRetryAfter(response.headers.get("Retry-After")),
  );
}

/** Reads a problem. Returns undefined if the body is not a JSON object, such as the error page of a proxy. */
function parseProblem(contentType: string | null, text: string): ProblemFields | undefined {
  if (!contentType?.includes("json")) return undefined;
  const body = tryParseJson(text);
  if (typeof body !== "object" || body === null || Array.isArray(body)) return undefined;
  const field = (name: string) => {
    const value = (body as Record<string, unknown>)[name];
    return typeof value === "string" ? quoted(value, MAX_FIELD_LENGTH) : undefined;
  };
  return {
    code: field("code"),
    title: field("title"),
    detail: field("detail"),
    request_id: field("request_id"),
    uploads: field("uploads"),
  };
}

/** Returns `text` in one line without control characters, and shortened. */
function quoted(text: string, characters?: number): string {
  return printableLine(shortened(text.trim(), characters).replace(/\s+/g, " "));
}

/** Converts a Retry-After header to seconds. The header holds seconds or an HTTP date (RFC 9110, section 10.2.3). */
function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const seconds = (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}
