/** A numerical assertion that names the worst element, and refuses tolerances so large that they would assert nothing. */

import { AssertionError } from "node:assert";

/** The largest tolerance that a test may use. A test that needs more is wrong. */
const LOOSEST_TOLERANCE = 1e-2;

/**
 * Asserts that |actual − expected| ≤ tolerance·scale for all elements. `scale` defaults to the largest |expected|, and `label` names the
 * values in messages.
 * @throws {AssertionError} if an element differs by more, naming the worst index and both of its values, or if the lengths differ
 * @throws {RangeError} if the tolerance is above 1e-2
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  options: { scale?: number; label?: string } = {},
): void {
  const { label = "values" } = options;
  if (!(tolerance >= 0 && tolerance <= LOOSEST_TOLERANCE)) {
    throw new RangeError(`assertClose: tolerance ${tolerance} is over ${LOOSEST_TOLERANCE}`);
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
