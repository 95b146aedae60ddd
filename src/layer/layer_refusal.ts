/**
 * Maps the errors of one layer to problems, which are the error answers of the HTTP contract. The errors are
 * a malformed body, tensors that do not fit, statistics that cannot be factored, a layer that is too large
 * for its method, and a device that is lost or out of memory. The host, which is Pare's GPU server, and the
 * edge, which is Pare's Cloudflare Worker, share this mapping. The host adds the errors that only a host has.
 */

import { DeviceLostError, OutOfDeviceMemoryError } from "../backend/backend.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "../linalg/errors.ts";
import { DEVICE_REOPEN_SECONDS } from "../protocol/limits.ts";
import { Refusal } from "../protocol/refusal.ts";
import { SafetensorsError } from "../safetensors/error.ts";
import { LayerSizeError } from "../solvers/check_operands.ts";
import { NonFiniteError, NotSymmetricError, TensorMismatchError } from "./errors.ts";

/**
 * Returns the refusal (the problem to answer with) for `error`, or undefined if `error` is not an error of a
 * layer.
 */
export function layerRefusal(error: unknown): Refusal | undefined {
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
    // The error is about a diagonal entry of H. If the entry is finite, it is negative, so H is not positive
    // definite.
    const code = Number.isFinite(value) ? "not_positive_definite" : "non_finite";
    return new Refusal(code, message, { members: { tensor: "hessian", index: [index, index] } });
  }
  if (error instanceof NotPositiveDefiniteError) {
    const { order, damping, message } = error;
    return new Refusal("not_positive_definite", message, { members: { order, damping } });
  }
  if (error instanceof LayerSizeError) {
    const { method, message } = error;
    return new Refusal("unsupported", message, { members: { parameter: "method", value: method } });
  }
  if (error instanceof DeviceLostError) {
    return new Refusal("device_lost", error.message, { retryAfter: DEVICE_REOPEN_SECONDS });
  }
  if (error instanceof OutOfDeviceMemoryError) return new Refusal("too_large", error.message);
  return undefined;
}
