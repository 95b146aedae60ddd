/** The texts of caught errors. The type of a caught error is unknown, because JavaScript can throw any value. */

/** Returns the message of `error`. A value that is not an Error is converted to a string. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Returns the stack of `error` for a log. A value that has no stack is converted to a string. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? String(error) : String(error);
}
