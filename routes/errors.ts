/**
 * The only table from errors to problems, and so to statuses. An error that is not in it is a fault of the host: it is logged, and
 * the client is told no more than that.
 */

import type { Context } from "hono";
import { DeviceLostError, OutOfRoomError } from "../src/backend/backend.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "../src/linalg/errors.ts";
import { NoDeviceError, REOPEN_SECONDS } from "../src/pipeline/device.ts";
import { HessianNotFoundError, StoreBudgetError } from "../src/pipeline/factor_store.ts";
import { BusyError } from "../src/pipeline/lane.ts";
import { DigestMismatchError } from "../src/pipeline/store_hessian.ts";
import { NonFiniteError, NotSymmetricError, TensorMismatchError } from "../src/pipeline/tensor_errors.ts";
import { PROBLEM_TYPE } from "../src/protocol/media_type.ts";
import { makeProblem, PROBLEMS } from "../src/protocol/problem.ts";
import { SafetensorsError } from "../src/safetensors/error.ts";
import type { HostEnv } from "./host_env.ts";
import { Refusal } from "../src/protocol/refusal.ts";

/** The refusal an error stands for. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof SafetensorsError) {
    const { tensor, byte, message } = error;
    const code = error.kind === "malformed" ? "malformed_safetensors" : "truncated_body";
    return new Refusal(code, message, { members: { tensor, byte } });
  }
  if (error instanceof TensorMismatchError) {
    const { tensor, expected, got, message } = error;
    return new Refusal("shape_mismatch", message, { members: { tensor, expected, got } });
  }
  if (error instanceof NonFiniteError) {
    const { tensor, index, message } = error;
    return new Refusal("non_finite", message, { members: { tensor, index } });
  }
  if (error instanceof NotSymmetricError) {
    const { tensor, index, message } = error;
    return new Refusal("not_symmetric", message, { members: { tensor, index } });
  }
  if (error instanceof InvalidStatisticsError) {
    const { index, value, message } = error;
    // What is finite and still wrong is negative: no positive definite matrix has that on its diagonal.
    const code = Number.isFinite(value) ? "not_positive_definite" : "non_finite";
    return new Refusal(code, message, { members: { tensor: "hessian", index: [index, index] } });
  }
  if (error instanceof NotPositiveDefiniteError) {
    const { order, damping, message } = error;
    return new Refusal("not_positive_definite", message, { members: { order, damping } });
  }
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
  if (error instanceof DeviceLostError) {
    return new Refusal("device_lost", error.message, { retryAfter: REOPEN_SECONDS });
  }
  // The request's own signal: nobody is left to read this, but the log tells it from a fault of the host.
  if (error instanceof DOMException && error.name === "AbortError") {
    return new Refusal("truncated_body", "the client left before its turn");
  }
  if (error instanceof OutOfRoomError) return new Refusal("too_large", error.message);
  return new Refusal("internal", "an error of the host; its log has the request id", { cause: error });
}

/** The answer for `error`. */
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
