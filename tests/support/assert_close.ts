/**
 * The numerical assertion of the tests. Its message names the element with the largest error. It refuses tolerances that
 * are so large that the assertion would be meaningless.
 */

import { AssertionError } from "node:assert";

/** The largest accepted tolerance. A test that needs a larger tolerance is itself wrong. */
const LOOSEST_TOLERANCE = 1e-2;

/**
 * Asserts that |actual − expected| ≤ tolerance·scale for every element.
 *
 * @param options.scale the magnitude that errors are relative to; by default, the largest |expected|
 * @param options.label the name of the values, for the message
 * @throws {AssertionError} if the lengths differ, or if an element differs by more. The message names the
 *   element with the largest error.
 * @throws {RangeError} if the tolerance is not between 0 and 1e-2
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  options: { scale?: number; label?: string } = {},
): void {
  const { label = "values" } = options;
  if (!(tolerance >= 0 && tolerance <= LOOSEST_TOLERANCE)) {
    throw new RangeError(`assertClose: tolerance must be from 0 to ${LOOSEST_TOLERANCE}, got ${tolerance}`);
  }
  if (actual.length !== expected.length) {
    throw new AssertionError({ message: `${label}: ${actual.length} elements, expected ${expected.length}` });
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
      message: `${label}: element ${worst} is ${actual[worst]}, expected ${expected[worst]} ` +
        `(off by ${worstError}, allowed ${tolerance} × ${scale})`,
    });
  }
}
