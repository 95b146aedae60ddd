/** Vars that are numbers. A deployment that sets one wrongly is told so, instead of being served without the limit. */

import type { EdgeBindings } from "./bindings.ts";

type NumericVar =
  | "EDGE_BODY_LIMIT"
  | "EDGE_PART_BYTES"
  | "EDGE_BLOB_DAYS"
  | "EDGE_JOB_DAYS"
  | "EDGE_JOB_SILENCE"
  | "EDGE_HOST_WAIT";

/** The var `name` as a whole number, `fallback` where it is not set. @throws {RangeError} naming it, when it is none or below `least` */
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
