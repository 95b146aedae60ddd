/**
 * Maps the errors of the edge to problems of the contract. An unknown error is a fault of the edge: it is logged with the request id, and
 * the client only learns that it happened.
 */

import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { PROBLEM_TYPE } from "../protocol/media_type.ts";
import { makeProblem, PROBLEMS } from "../protocol/problem.ts";
import { Refusal } from "../protocol/refusal.ts";
import { stackOf } from "../text/message_of.ts";
import type { EdgeEnv } from "./edge_env.ts";

/** Returns the response for `error`. */
export function edgeProblemResponse(c: Context<EdgeEnv>, error: unknown): Response {
  const id = c.get("requestId");
  const refusal = toRefusal(error, id);
  const { code, message, members, retryAfter } = refusal;
  const headers = new Headers({ "Content-Type": PROBLEM_TYPE, "X-Request-Id": id });
  if (retryAfter !== undefined) headers.set("Retry-After", String(retryAfter));
  if (code === "unauthorized") headers.set("WWW-Authenticate", "Bearer");
  return Response.json(makeProblem(code, message, id, members), { status: PROBLEMS[code].status, headers });
}

function toRefusal(error: unknown, requestId: string): Refusal {
  if (error instanceof Refusal) return error;
  // Hono's own errors for a body that is not JSON, and for one whose Content-Type is not JSON.
  if (error instanceof HTTPException && error.status === 400) {
    return new Refusal("invalid_parameter", `body: ${error.message}`, { cause: error });
  }
  if (error instanceof HTTPException && error.status === 415) {
    return new Refusal("unsupported_media_type", "Content-Type: must be application/json", { cause: error });
  }
  return fault(error, requestId);
}

function fault(error: unknown, requestId: string): Refusal {
  console.error(JSON.stringify({ request_id: requestId, error: stackOf(error) }));
  return new Refusal("internal", "the edge failed; its log has the error under this request id", {
    cause: error,
  });
}
