/** The two figures that measure the quality of a solution, computed on the host, in float64, from sums that the device computed. */

/**
 * Computes tr(M·H·Mᵀ) for a matrix M, given the same trace for the damped H. Subtracts the share that the damping contributed.
 * @param dampedForm tr(M·(H + dampingAdded·I)·Mᵀ)
 * @param dampingAdded the value that was added to every diagonal entry of H
 * @param squaredNorm ‖M‖²
 * @returns the form, or 0 if the difference is negative. The form itself is never negative, but the two sums were
 *   rounded to f32, so their difference can be.
 */
export function undampedForm(dampedForm: number, dampingAdded: number, squaredNorm: number): number {
  return Math.max(0, dampedForm - dampingAdded * squaredNorm);
}

/** Computes loss / total. If `total` is 0, the result is 0 if the loss is 0 as well, and null otherwise. */
export function relativeError(loss: number, total: number): number | null {
  if (total > 0) return loss / total;
  return loss === 0 ? 0 : null;
}
