/**
 * The errors for invalid tensors in a well-formed safetensors body. Each error has the name of the tensor for
 * the answer.
 */

import type { FloatDtype } from "../tensor/dtype.ts";
import { shortened } from "../text/quotes.ts";

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

  /**
   * @param index row and column of the first element, below the diagonal, that differs from its mirror image
   */
  constructor(readonly tensor: string, readonly index: readonly [number, number]) {
    super(`tensor ${tensor}: element [${index.join(", ")}] differs from [${index.toReversed().join(", ")}]`);
  }
}
