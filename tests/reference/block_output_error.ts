/** The error of the output of a block of one OPT model against another, in float64. */

import { forwardOpt, type OptReference } from "./opt_forward.ts";

/** Returns the mean over all tokens of ‖Δy‖²/‖y‖² for the outputs of `block`, where y is that of `wanted`. */
export function blockOutputError(
  wanted: OptReference,
  actual: OptReference,
  block: number,
  windows: readonly Uint32Array[],
): number {
  const square = (x: Float64Array) => x.reduce((sum, value) => sum + value * value, 0);
  const errors = windows.flatMap((window) => {
    const y = forwardOpt(wanted, window).outputs[block], z = forwardOpt(actual, window).outputs[block];
    return Array.from(window, (_, t) => {
      const row = (x: Float64Array) => x.subarray(t * wanted.hidden, (t + 1) * wanted.hidden);
      return square(row(y).map((value, i) => value - row(z)[i])) / square(row(y));
    });
  });
  return errors.reduce((a, b) => a + b) / errors.length;
}
