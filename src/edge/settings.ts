/** Reads the variables of the Worker. An invalid number is an error. If a default replaced it, a limit could be lifted without notice. */

import type { EdgeBindings } from "./bindings.ts";
import { Refusal } from "../protocol/refusal.ts";

/** The number of milliseconds in a day. Lifetimes are set in days. */
export const DAY_MILLISECONDS = 86_400_000;

type NumericVariable =
  | "EDGE_BODY_LIMIT"
  | "EDGE_PART_BYTES"
  | "EDGE_BLOB_DAYS"
  | "EDGE_JOB_DAYS"
  | "EDGE_JOB_SILENCE"
  | "EDGE_HOST_TIMEOUT"
  | "EDGE_HOST_WAIT";

/**
 * Returns the variable `name` as a whole number, or `fallback` if it is not set.
 * @throws {RangeError} if the value is not a whole number of at least `minimum`
 */
export function wholeNumber(
  env: EdgeBindings,
  name: NumericVariable,
  fallback: number,
  minimum: number,
): number {
  const text = env[name];
  const value = text ? Number(text) : fallback;
  if (Number.isSafeInteger(value) && value >= minimum) return value;
  throw new RangeError(`${name}: must be a whole number of at least ${minimum}, got "${text}"`);
}

/** Returns `EDGE_HOST_SECRET`. @throws {Refusal} `unsupported` if it is not set */
export function requireHostSecret(env: EdgeBindings): string {
  if (!env.EDGE_HOST_SECRET) {
    throw new Refusal("unsupported", "this edge cannot work with hosts, because EDGE_HOST_SECRET is not set");
  }
  return env.EDGE_HOST_SECRET;
}
