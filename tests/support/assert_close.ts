/** Numerical assertions: they name the worst element, and refuse a tolerance that would assert nothing. */

import { AssertionError } from "node:assert";

/** Anything past this says the test, not the code, is at fault. */
const LOOSEST_TOLERANCE = 1e-2;

/**
 * |actual − expected| ≤ tolerance·scale everywhere, where `scale` is the largest |expected| unless given.
 * @throws {AssertionError} naming the worst index and both values there; {RangeError} on a tolerance over 1e-2
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  options: { scale?: number; what?: string } = {},
): void {
  const { what = "values" } = options;
  if (!(tolerance >= 0 && tolerance <= LOOSEST_TOLERANCE)) {
    throw new RangeError(`assertClose: tolerance ${tolerance} is over ${LOOSEST_TOLERANCE}`);
  }
  if (actual.length !== expected.length) {
    throw new AssertionError({ message: `${what}: ${actual.length} elements, expected ${expected.length}` });
  }
  let scale = options.scale ?? 0, worst = -1, worstError = -1;
  if (options.scale === undefined) {
    for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  }
  for (let i = 0; i < expected.length; i++) {
    const error = Object.is(actual[i], expected[i]) ? 0 : Math.abs(actual[i] - expected[i]);
    if (Number.isNaN(error) || error > worstError) [worst, worstError] = [i, error];
    if (Number.isNaN(error)) break;
  }
  if (worst >= 0 && !(worstError <= tolerance * scale)) {
    throw new AssertionError({
      message: `${what}: element ${worst} is ${actual[worst]}, expected ${expected[worst]} ` +
        `(off by ${worstError}, allowed ${tolerance} × ${scale})`,
    });
  }
}
