/** The assertion that two arrays have the same elements, for arrays that are too long to print when they differ. */

import { AssertionError } from "node:assert";

/**
 * Asserts that two arrays have the same length and the same elements. `deepEqual` asserts the same, but it prints all
 * elements of arrays that differ, which takes minutes and gigabytes for a weight of a model.
 *
 * @param label the name of the values, for the message
 * @throws {AssertionError} if they differ. The message counts the elements that differ and gives the first one.
 */
export function assertSame(actual: ArrayLike<number>, expected: ArrayLike<number>, label = "values"): void {
  if (actual.length !== expected.length) {
    throw new AssertionError({ message: `${label}: ${actual.length} elements, expected ${expected.length}` });
  }
  let first = -1, count = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    if (count++ === 0) first = i;
  }
  if (count > 0) {
    throw new AssertionError({
      message:
        `${label}: ${count} of ${expected.length} elements differ, the first is element ${first}, which is ` +
        `${actual[first]} and must be ${expected[first]}`,
    });
  }
}
