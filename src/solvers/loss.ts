/** The two figures a solution is judged by, from sums taken on the device. Host float64 only. */

/**
 * tr(M·H·Mᵀ) on the undamped H: `squared`, the same on the damped one, less what the damping contributed to it. Both come from
 * f32 sums, so where they cancel their difference may fall below 0 by rounding, which no such trace can.
 */
export function undamped(squared: number, dampingAdded: number, squaredNorm: number): number {
  return Math.max(0, squared - dampingAdded * squaredNorm);
}

/** loss / total; 0 where both are 0, null where only `total` is. */
export function relativeError(loss: number, total: number): number | null {
  if (total > 0) return loss / total;
  return loss === 0 ? 0 : null;
}
