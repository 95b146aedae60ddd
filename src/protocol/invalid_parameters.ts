/** Converts the error of a failed validation to the refusal `invalid_parameter`, which lists every invalid parameter. */

import type { z } from "zod";
import { Refusal } from "./refusal.ts";

/** Returns the refusal for an error of the schema library zod. */
export function invalidParameters(error: z.ZodError | z.core.$ZodError): Refusal {
  const errors = error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((parameter) => ({ parameter, detail: "is not a parameter" }))
      : [{ parameter: issue.path.join("."), detail: issue.message }]
  );
  const detail = errors.map(({ parameter, detail }) => `${parameter}: ${detail}`).join("; ");
  return new Refusal("invalid_parameter", detail, { members: { errors } });
}
