/** Converts the error of a failed validation to the refusal `invalid_parameter`, which lists the first invalid parameters. */

import type { z } from "zod";
import { cutText, MAX_LISTED_ITEMS } from "../text/cut_text.ts";
import { Refusal } from "./refusal.ts";

/** Returns the refusal for an error of the schema library zod. Long names and long lists are cut. */
export function invalidParameters(error: z.ZodError | z.core.$ZodError): Refusal {
  const all = error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((parameter) => ({ parameter, detail: "is not a parameter" }))
      : [{ parameter: issue.path.join("."), detail: issue.message }]
  );
  const errors = all.slice(0, MAX_LISTED_ITEMS).map(({ parameter, detail }) => ({
    parameter: cutText(parameter),
    detail: cutText(detail),
  }));
  const listed = errors.map(({ parameter, detail }) => `${parameter}: ${detail}`);
  if (all.length > errors.length) listed.push(`and ${all.length - errors.length} more`);
  return new Refusal("invalid_parameter", listed.join("; "), { members: { errors } });
}
