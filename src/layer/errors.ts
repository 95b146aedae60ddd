/** What can be wrong with the tensors of a well-formed body. Each says which tensor, for the answer to name it. */

/** A tensor is missing, unexpected, or of a shape or dtype that does not fit. */
export class TensorMismatchError extends Error {
  override name = "TensorMismatchError";

  constructor(readonly tensor: string, readonly expected: string, readonly got: string) {
    super(`tensor ${tensor}: expected ${expected}, got ${got}`);
  }
}

/** A tensor holds NaN or infinity. */
export class NonFiniteError extends Error {
  override name = "NonFiniteError";

  /** @param index of the first such element, one number an axis */
  constructor(readonly tensor: string, readonly index: readonly number[]) {
    super(`tensor ${tensor}: element [${index.join(", ")}] is not finite`);
  }
}

/** A Hessian's two triangles differ. */
export class NotSymmetricError extends Error {
  override name = "NotSymmetricError";

  /** @param index row and column of the first element, below the diagonal, that differs from its mirror */
  constructor(readonly tensor: string, readonly index: readonly [number, number]) {
    super(`tensor ${tensor}: element [${index.join(", ")}] differs from [${index.toReversed().join(", ")}]`);
  }
}
