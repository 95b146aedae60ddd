/** The errors of calibration statistics that are found only on the device, during the factorisation. */

/** A pivot of the damped statistics is not positive, with any of the dampings that were tried. */
export class NotPositiveDefiniteError extends Error {
  override name = "NotPositiveDefiniteError";

  /**
   * @param order the order of the trailing minor that is not positive definite: n − j for a pivot at column j of n
   * @param damping the last damping tried, as a fraction of the mean diagonal entry
   * @param advice the end of the message, which tells the user how to continue
   */
  constructor(readonly order: number, readonly damping: number, advice: string) {
    super(
      `statistics are not positive definite: trailing minor of order ${order}, damping ${damping}; ${advice}`,
    );
  }
}

/** A diagonal entry of the statistics is negative or not finite, which no sum Σ x·xᵀ can have. */
export class InvalidStatisticsError extends Error {
  override name = "InvalidStatisticsError";

  /**
   * @param index the index of the entry on the diagonal
   * @param value the entry
   */
  constructor(readonly index: number, readonly value: number) {
    super(`statistics: diagonal entry ${index} is ${value}, but it must be finite and not negative`);
  }
}
