/**
 * Converts the error of a failed request to an answer of type `application/problem+json`. An error that is not part of
 * the HTTP contract is a fault of the edge. It is logged with the request id, and the answer does not show it.
 */

import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { EdgeEnv } from "./bindings.ts";
import { disconnectRefusal, hasDisconnected } from "./requests/read_body.ts";
import { PROBLEMS } from "../protocol/problem_codes.ts";
import { problemAnswer, Refusal } from "../protocol/refusal.ts";
import { stackOf } from "../base/errors.ts";

/** The Retry-After in seconds of an answer with status 503 whose refusal has none. */
const DEFAULT_RETRY_SECONDS = 5;

export function edgeProblemResponse(c: Context<EdgeEnv>, error: unknown): Response {
  const requestId = c.get("requestId");
  const refusal = refusalOf(error) ??
    (hasDisconnected(c) ? disconnectRefusal(error) : logInternalError(error, requestId));
  const { body, status, headers } = problemAnswer(refusal, requestId);
  if (status === PROBLEMS.no_device.status) headers["Retry-After"] ??= String(DEFAULT_RETRY_SECONDS);
  return c.body(body, status, headers);
}

/** Returns the refusal that an error stands for, or undefined for a fault of the edge. */
function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (!(error instanceof HTTPException)) return undefined;
  // Hono throws status 400 if a body that must be JSON cannot be parsed, and 415 if it has another
  // Content-Type.
  if (error.status === 400) {
    return new Refusal("invalid_parameter", `body: ${error.message}`, { cause: error });
  }
  if (error.status === 415) {
    return new Refusal("unsupported_media_type", "Content-Type: must be application/json", { cause: error });
  }
}

/** Logs a fault of the edge as one line of JSON. Returns the refusal for the client. */
function logInternalError(error: unknown, requestId: string): Refusal {
  logFailure({ request_id: requestId, error: stackOf(error) });
  return new Refusal("internal", "the edge failed; its log has the error under this request id", {
    cause: error,
  });
}

/** Writes one line of JSON to the log. */
export function logFailure(entry: Readonly<Record<string, unknown>>): void {
  console.error(JSON.stringify(entry));
}
