/** The assertion that two values are the same, for arrays that are too long to print when they differ. */

import assert, { AssertionError } from "node:assert/strict";

/**
 * Asserts that two values are the same, as `deepEqual` does. `deepEqual` prints all elements of arrays that differ, which
 * takes minutes and gigabytes for a weight of a model. Here the message has the path of the first array that differs, such
 * as `values weight data`, the number of its elements that differ, and the first one of them.
 *
 * @param actual an array, or arrays in maps, objects and lists, such as tensors by their names
 * @param label the name of the values, for the message
 * @throws {AssertionError} if they differ
 */
export function assertSame(actual: unknown, expected: unknown, label = "values"): void {
  requireSame(`the type of ${label}`, typeName(actual), typeName(expected));
  if (isFlat(actual) && isFlat(expected)) return assertSameElements(actual, expected, label);
  const members = membersOf(actual), expectedMembers = membersOf(expected);
  if (members.size + expectedMembers.size === 0) return assert.deepEqual(actual, expected, label);
  requireSame(`the members of ${label}`, keysOf(members), keysOf(expectedMembers));
  for (const [key, member] of expectedMembers) {
    assertSame(members.get(key), member, `${label} ${String(key)}`);
  }
}

function assertSameElements(actual: ArrayLike<unknown>, expected: ArrayLike<unknown>, label: string): void {
  requireSame(`the length of ${label}`, actual.length, expected.length);
  let first = -1, count = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    if (count++ === 0) first = i;
  }
  if (count === 0) return;
  const what =
    `${label}: ${count} of ${expected.length} elements differ, the first is element ${first}, which`;
  requireSame(what, actual[first], expected[first]);
}

function requireSame(what: string, actual: unknown, expected: unknown): void {
  if (Object.is(actual, expected)) return;
  const [is, must] = [actual, expected].map((value) => Object.is(value, -0) ? "-0" : String(value));
  throw new AssertionError({ message: `${what} is ${is} and must be ${must}` });
}

/** Whether `value` is an array of numbers, or of other elements without members. */
function isFlat(value: unknown): value is ArrayLike<unknown> {
  if (ArrayBuffer.isView(value)) return "length" in value;
  return Array.isArray(value) && value.every((element) => typeof element !== "object" || element === null);
}

/** Returns the members of a map, a list or an object. */
function membersOf(value: unknown): ReadonlyMap<unknown, unknown> {
  if (value instanceof Map) return value;
  return new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);
}

function keysOf(members: ReadonlyMap<unknown, unknown>): string {
  return [...members.keys()].map(String).sort().join(", ");
}

function typeName(value: unknown): string {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return Object.getPrototypeOf(value)?.constructor.name ?? "Object";
}
