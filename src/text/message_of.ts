/** Texts of errors that were caught, whose type is therefore unknown. */

/** The message of `error`, or `error` itself as text if it is not an Error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The stack of `error` for a log, or `error` itself as text if it has no stack. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? String(error) : String(error);
}
