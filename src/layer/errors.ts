/**
 * The refusals of invalid tensors of a layer, and the mapping of the other errors of a layer to refusals, which become the error answers of
 * the HTTP contract.
 */

import type { FloatDtype } from "../tensor/dtype.ts";
import { shortened } from "../base/texts.ts";
import { DeviceLostError, OutOfDeviceMemoryError } from "../device/backend.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "./linalg/errors.ts";
import { DEVICE_REOPEN_SECONDS } from "../protocol/limits.ts";
import { Refusal } from "../protocol/refusal.ts";
import { SafetensorsError } from "../tensor/safetensors/error.ts";
import { LayerSizeError } from "./solvers/solver.ts";

/** Returns the refusal of a tensor that is missing or unexpected, or whose shape or dtype does not fit. */
export function tensorMismatch(tensor: string, expected: string, got: string): Refusal {
  const detail = `tensor ${shortened(tensor)}: expected ${expected}, got ${got}`;
  return new Refusal("shape_mismatch", detail, { members: { tensor, expected, got } });
}

/**
 * Returns the refusal of a tensor that holds NaN or an infinity.
 * @param index the index of the first such element, one number per axis
 */
export function nonFinite(
  tensor: string,
  index: readonly number[],
  detail = `tensor ${tensor}: element [${index.join(", ")}] is not finite`,
): Refusal {
  return new Refusal("non_finite", detail, { members: { tensor, index } });
}

/**
 * Returns the refusal of an answer with a weight that is not finite, because the solve or the conversion to the answer's
 * dtype overflowed.
 * @param value the pruned weight in f32
 */
export function overflowingAnswer(index: readonly number[], dtype: FloatDtype, value: number): Refusal {
  const cause = Number.isFinite(value)
    ? `is ${value}, which ${dtype} cannot represent. Choose another dtype`
    : `is ${value}, because the updates of the solve overflowed f32. Scale the weights down`;
  return nonFinite("weight", index, `tensor weight of the answer: element [${index.join(", ")}] ${cause}`);
}

/**
 * Returns the refusal of a Hessian whose two triangles differ.
 * @param index row and column of the first element, below the diagonal, that differs from its mirror image
 */
export function notSymmetric(tensor: string, index: readonly [number, number]): Refusal {
  const detail = `tensor ${tensor}: element [${index.join(", ")}] differs from [${
    index.toReversed().join(", ")
  }]`;
  return new Refusal("not_symmetric", detail, { members: { tensor, index } });
}

/** Returns the refusal (the problem to answer with) for `error`, or undefined if `error` is not an error of a layer. */
export function layerRefusal(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (error instanceof SafetensorsError) {
    const { tensor, byte, message } = error;
    const code = error.kind === "malformed" ? "malformed_safetensors" : "truncated_body";
    return new Refusal(code, message, { members: { tensor, byte } });
  }
  if (error instanceof InvalidStatisticsError) {
    const { index, value, message, tensor } = error;
    // The error is about a diagonal entry of a matrix. If the entry is finite, it is negative, so the matrix is not positive definite.
    const code = Number.isFinite(value) ? "not_positive_definite" : "non_finite";
    return new Refusal(code, message, { members: { tensor, index: [index, index] } });
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
