/** The check of a long list from somebody else, for rooms that may not import the whole of zod. */

import * as z from "zod/mini";
import { type $ZodRawIssue, type $ZodType, safeParse } from "zod/v4/core";

/** Returns the check of a list, whose items are checked only up to the first fault. */
export function list<T>(item: z.ZodMiniType<T>): z.ZodMiniType<T[]> {
  const stop = z.transform((value: unknown, { issues }): unknown[] => {
    issues.push(...firstFault(item, value));
    return value as unknown[];
  });
  return z.pipe(stop, z.array(item));
}

/**
 * Returns the issues of the first item of a list, or the first value of a record, that does not match `item`.
 * The library itself reports every fault, which takes seconds and 50 MiB for a few hundred thousand, and then overflows the stack.
 */
export function firstFault(item: $ZodType, value: unknown): $ZodRawIssue[] {
  if (typeof value !== "object" || value === null) return [];
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    const { error } = safeParse(item, (value as Record<PropertyKey, unknown>)[key]);
    if (error) {
      return error.issues.map((issue) => ({ ...issue, path: [key, ...issue.path], input: undefined }));
    }
  }
  return [];
}
