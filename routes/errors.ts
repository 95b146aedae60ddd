/**
 * Converts every error of a host to a problem of the HTTP contract, which has a status. Any other error is a fault of the host:
 * it is logged, and the client only learns that it happened.
 */

import type { Context } from "hono";
import { NoDeviceError } from "../src/host/device.ts";
import { HessianNotFoundError, StoreBudgetError } from "../src/host/factor_store.ts";
import { BusyError } from "../src/host/bounded_queue.ts";
import { DigestMismatchError } from "../src/host/store_hessian.ts";
import { layerRefusal } from "../src/layer/layer_refusal.ts";
import { PROBLEM_TYPE } from "../src/protocol/media_type.ts";
import { makeProblem, PROBLEMS } from "../src/protocol/problem.ts";
import type { HostEnv } from "./host_env.ts";
import { Refusal } from "../src/protocol/refusal.ts";

/** Returns the refusal for `error`. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const ofLayer = layerRefusal(error);
  if (ofLayer) return ofLayer;
  if (error instanceof HessianNotFoundError) {
    return new Refusal("hessian_not_found", error.message, { members: { digest: error.digest } });
  }
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
  if (error instanceof NoDeviceError) return new Refusal("no_device", error.message);
  // The request was aborted. Nobody reads this answer, but the log must not count it as a fault of the host.
  if (error instanceof DOMException && error.name === "AbortError") {
    return new Refusal("truncated_body", "the client disconnected while its request was waiting");
  }
  return new Refusal("internal", "the host failed; its log has the error under this request id", {
    cause: error,
  });
}

/** Returns the response for `error`. */
export function problemResponse(c: Context<HostEnv>, error: unknown): Response {
  const { code, message, members, retryAfter, cause } = toRefusal(error);
  c.set("problem", code);
  if (code === "internal") c.set("fault", cause);
  const headers: Record<string, string> = { "Content-Type": PROBLEM_TYPE };
  if (retryAfter !== undefined) headers["Retry-After"] = String(retryAfter);
  if (code === "unauthorized") headers["WWW-Authenticate"] = "Bearer";
  const body = JSON.stringify(makeProblem(code, message, c.get("requestId"), members));
  return c.body(body, PROBLEMS[code].status, headers);
}
