/** Reads variables that are numbers. A wrong value is an error, so that no limit is silently ignored. */

import type { EdgeBindings } from "./bindings.ts";

type NumericVar =
  | "EDGE_BODY_LIMIT"
  | "EDGE_PART_BYTES"
  | "EDGE_BLOB_DAYS"
  | "EDGE_JOB_DAYS"
  | "EDGE_JOB_SILENCE"
  | "EDGE_HOST_WAIT";

/** Returns the variable `name` as a whole number, or `fallback` if it is not set. @throws {RangeError} if it is not a whole number of at least `least` */
export function wholeNumber(
  env: EdgeBindings,
  name: NumericVar,
  fallback: number,
  least: number,
): number {
  const text = env[name];
  const value = text ? Number(text) : fallback;
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new RangeError(`${name}: must be a whole number from ${least}, got ${text}`);
}
