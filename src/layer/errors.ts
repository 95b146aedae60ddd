/**
 * The errors for invalid tensors in a well-formed safetensors body. Each error has the name of the tensor for
 * the answer.
 */

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
  constructor(readonly tensor: string, readonly index: readonly number[]) {
    super(`tensor ${tensor}: element [${index.join(", ")}] is not finite`);
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
