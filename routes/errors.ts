/**
 * Maps every error of a host to a problem of the HTTP contract. Each problem has a fixed status. An error that is not
 * listed here is a fault of the host. The host logs the error with the request id, but does not show it in the answer.
 */

import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { NoDeviceError, ShuttingDownError } from "../src/host/device.ts";
import { DigestMismatchError, HessianNotFoundError, StoreBudgetError } from "../src/host/factor_store.ts";
import { StatesNotFoundError } from "../src/host/blocks/states_store.ts";
import { BusyError } from "../src/host/bounded_queue.ts";
import { layerRefusal } from "../src/layer/errors.ts";
import { RESTART_SECONDS } from "../src/protocol/limits.ts";
import { problemAnswer, Refusal } from "../src/protocol/refusal.ts";
import type { HostEnv } from "./host_app.ts";

/** Returns `error` as a refusal, which is an error with the code of a problem. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const refusal = layerRefusal(error);
  if (refusal) return refusal;
  if (error instanceof HessianNotFoundError) {
    return new Refusal("hessian_not_found", error.message, { members: { digest: error.digest } });
  }
  if (error instanceof StatesNotFoundError) return new Refusal("states_not_found", error.message);
  if (error instanceof DigestMismatchError) {
    const { expected, got, message } = error;
    return new Refusal("digest_mismatch", message, { members: { expected, got } });
  }
  if (error instanceof StoreBudgetError) {
    return new Refusal("too_large", error.message, { members: { limit: error.limit } });
  }
  if (error instanceof BusyError) {
    return new Refusal("busy", error.message, { retryAfter: error.retryAfterSeconds });
  }
  if (error instanceof NoDeviceError) {
    return new Refusal("no_device", error.message, { retryAfter: error.retryAfterSeconds });
  }
  if (error instanceof ShuttingDownError) {
    return new Refusal("shutting_down", error.message, { retryAfter: RESTART_SECONDS });
  }
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
