/**
 * How the edge tells what went wrong: its own refusals as problems of the contract. An error that is none of them is a
 * fault of the edge: it goes to the log under the request's id, and the client is told no more than that.
 */

import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { PROBLEM_TYPE } from "../protocol/media_type.ts";
import { makeProblem, PROBLEMS } from "../protocol/problem.ts";
import { Refusal } from "../protocol/refusal.ts";
import { stackOf } from "../text/message_of.ts";
import type { EdgeEnv } from "./edge_env.ts";

/** The answer for `error`. */
export function problemResponse(c: Context<EdgeEnv>, error: unknown): Response {
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
  // Hono's own words for a body that is no JSON, and for one that does not say it is.
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
  return new Refusal("internal", "an error of the edge; its log has the request id", { cause: error });
}
