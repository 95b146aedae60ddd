/**
 * The errors for invalid tensors of a layer, and the mapping of all errors of a layer to problems, which are the error answers of the HTTP
 * contract. The host adds the errors that only a host has.
 */

import type { FloatDtype } from "../tensor/dtype.ts";
import { shortened } from "../base/texts.ts";
import { DeviceLostError, OutOfDeviceMemoryError } from "../device/backend.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "./linalg/errors.ts";
import { DEVICE_REOPEN_SECONDS } from "../protocol/limits.ts";
import { Refusal } from "../protocol/refusal.ts";
import { SafetensorsError } from "../tensor/safetensors/error.ts";
import { LayerSizeError } from "./solvers/solver.ts";

/** A tensor is missing or unexpected, or its shape or dtype does not fit. */
export class TensorMismatchError extends Error {
  override name = "TensorMismatchError";

  constructor(readonly tensor: string, readonly expected: string, readonly got: string) {
    super(`tensor ${shortened(tensor)}: expected ${expected}, got ${got}`);
  }
}

/** A tensor holds NaN or an infinity. */
export class NonFiniteError extends Error {
  override name = "NonFiniteError";

  /** @param index the index of the first such element, one number per axis */
  constructor(
    readonly tensor: string,
    readonly index: readonly number[],
    message = `tensor ${tensor}: element [${index.join(", ")}] is not finite`,
  ) {
    super(message);
  }
}

/** A weight of the answer is not finite, because the solve or the conversion to the answer's dtype overflowed. */
export class OverflowingAnswerError extends NonFiniteError {
  override name = "OverflowingAnswerError";

  /** @param value the pruned weight in f32 */
  constructor(index: readonly number[], dtype: FloatDtype, value: number) {
    const isConversion = Number.isFinite(value);
    const cause = isConversion
      ? `is ${value}, which ${dtype} cannot represent. Choose another dtype`
      : `is ${value}, because the updates of the solve overflowed f32. Scale the weights down`;
    super("weight", index, `tensor weight of the answer: element [${index.join(", ")}] ${cause}`);
  }
}

/** The two triangles of a Hessian differ. */
export class NotSymmetricError extends Error {
  override name = "NotSymmetricError";

  /** @param index row and column of the first element, below the diagonal, that differs from its mirror image */
  constructor(readonly tensor: string, readonly index: readonly [number, number]) {
    super(`tensor ${tensor}: element [${index.join(", ")}] differs from [${index.toReversed().join(", ")}]`);
  }
}

/** Returns the refusal (the problem to answer with) for `error`, or undefined if `error` is not an error of a layer. */
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
