/** A schema for a long list from somebody else. */

import { z } from "zod";

/**
 * Returns a schema like `schema` that checks the items of a list, or the values of a record, only up to the first fault.
 * The library reports every fault, which takes seconds for a few hundred thousand and then overflows the stack.
 */
export function stopAtFault<S extends z.ZodArray | z.ZodRecord>(schema: S) {
  const item = schema instanceof z.ZodArray ? schema.element : schema.valueType;
  return z.preprocess((value, { issues }) => {
    if (typeof value !== "object" || value === null) return value;
    for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
      const { error } = z.core.safeParse(item, (value as Record<PropertyKey, unknown>)[key]);
      if (!error) continue;
      for (const issue of error.issues) {
        issues.push({ ...issue, path: [key, ...issue.path], input: undefined });
      }
      break;
    }
    return value;
  }, schema);
}
