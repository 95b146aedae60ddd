/** What can be wrong with calibration statistics once they are on the device. */

/** The damped statistics have a pivot that is not positive, whatever damping was tried. */
export class NotPositiveDefiniteError extends Error {
  override name = "NotPositiveDefiniteError";

  /**
   * @param order of the failing trailing minor: n − j for a pivot at column j of n
   * @param damping the last one tried, as a fraction of the mean diagonal
   */
  constructor(readonly order: number, readonly damping: number, advice: string) {
    super(
      `statistics are not positive definite: trailing minor of order ${order}, damping ${damping}; ${advice}`,
    );
  }
}

/** A diagonal entry that no Σ x xᵀ can have. */
export class InvalidStatisticsError extends Error {
  override name = "InvalidStatisticsError";

  /** @param index of the diagonal entry `value` */
  constructor(readonly index: number, readonly value: number) {
    super(`statistics: diagonal entry ${index} is ${value}, must be finite and not negative`);
  }
}
