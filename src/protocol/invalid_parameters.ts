/** The refusal `invalid_parameter`, which lists the invalid parameters. */

import type { z } from "zod";
import { firstItems, joinedItems, shortened } from "../text/quotes.ts";
import { Refusal } from "./refusal.ts";

/** One invalid parameter, and the rule that it breaks. */
interface InvalidParameter {
  readonly parameter: string;
  readonly detail: string;
}

/** Returns the refusal for an error of the schema library zod. It lists at most 20 parameters. */
export function invalidParameters(error: z.ZodError | z.core.$ZodError): Refusal {
  return refusalFor(
    error.issues.flatMap((issue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys.map((parameter) => ({ parameter, detail: "is not a parameter" }))
        : [{ parameter: issue.path.join("."), detail: issue.message }]
    ),
  );
}

/** Checks that every parameter of a query has a name. The libraries that read queries ignore one without. @throws {Refusal} `invalid_parameter` */
export function requireNamedParameters(query: URLSearchParams): void {
  if (query.has("")) throw refusalFor([{ parameter: "", detail: "is not a parameter" }]);
}

function refusalFor(invalid: readonly InvalidParameter[]): Refusal {
  const errors = firstItems(invalid).map(({ parameter, detail }) => ({
    parameter: shortened(parameter),
    detail: shortened(detail),
  }));
  const detail = joinedItems(
    invalid.map(({ parameter, detail }) => `${shortened(parameter)}: ${detail}`),
    "; ",
  );
  return new Refusal("invalid_parameter", detail, { members: { errors } });
}
