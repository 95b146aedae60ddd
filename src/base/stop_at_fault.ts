/** A schema for a long list from somebody else. */

import { z } from "zod";
import { firstFault } from "./list.ts";

/** Returns a schema like `schema` that checks the items of a list, or the values of a record, only up to the first fault. */
export function stopAtFault<S extends z.ZodArray | z.ZodRecord>(schema: S) {
  const item = schema instanceof z.ZodArray ? schema.element : schema.valueType;
  return z.preprocess((value, { issues }) => {
    issues.push(...firstFault(item, value));
    return value;
  }, schema);
}
