/** The errors for calibration statistics H = Σ x·xᵀ that cannot be factored. */

/** A pivot of the damped statistics was not positive, even with the largest damping that was tried. */
export class NotPositiveDefiniteError extends Error {
  override name = "NotPositiveDefiniteError";

  /**
   * @param order the order of the trailing minor that is not positive definite: n − j if the pivot in column j failed
   * @param damping the last damping that was tried, as a fraction of the mean diagonal entry
   */
  constructor(readonly order: number, readonly damping: number, advice: string) {
    super(
      `statistics are not positive definite: the trailing minor of order ${order} failed with damping ${damping}. ${advice}`,
    );
  }
}

/** A diagonal entry of the statistics is negative or not finite. No sum Σ x·xᵀ has such an entry. */
export class InvalidStatisticsError extends Error {
  override name = "InvalidStatisticsError";

  constructor(
    readonly index: number,
    readonly value: number,
    message = `statistics: diagonal entry ${index} is ${value}, but it must be finite and not negative`,
    /** The name of the tensor in a request. */
    readonly tensor = "hessian",
  ) {
    super(message);
  }
}
