/**
 * Maps every error of a host to a problem of the HTTP contract. Each problem has a fixed status. An error that is not
 * listed here is a fault of the host. The host logs the error with the request id, but does not show it in the answer.
 */

import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { layerRefusal } from "../src/layer/errors.ts";
import { problemAnswer, Refusal } from "../src/protocol/refusal.ts";
import type { HostEnv } from "./host_app.ts";

/** Returns `error` as a refusal, which is an error with the code of a problem. */
export function toRefusal(error: unknown): Refusal {
  const refusal = layerRefusal(error);
  if (refusal) return refusal;
  // Hono throws this error if a JSON body cannot be parsed.
  if (error instanceof HTTPException && error.status === 400) {
    return new Refusal("invalid_parameter", "the body is not valid JSON", {
      members: { errors: [{ parameter: "body", detail: "is not valid JSON" }] },
    });
  }
  // The client disconnected, so nobody reads this answer. The code makes the log show that the host is not at fault.
  if (error instanceof DOMException && error.name === "AbortError") {
    return new Refusal("truncated_body", "the client disconnected while its request was waiting");
  }
  return new Refusal("internal", "the host failed; its log has the error under this request id", {
    cause: error,
  });
}

/** Returns the response for `error`, and sets the request's variables `problem` and `fault`, which the log shows. */
export function problemResponse(c: Context<HostEnv>, error: unknown): Response {
  const refusal = toRefusal(error);
  c.set("problem", refusal.code);
  if (refusal.code === "internal") c.set("fault", refusal.cause);
  const { body, status, headers } = problemAnswer(refusal, c.get("requestId"));
  return c.body(body, status, headers);
}
