/** Describes the errors of a route in the OpenAPI documents of host and edge. */

import { PROBLEM_TYPE } from "./media_type.ts";
import { type ProblemCode, PROBLEMS, problemSchema } from "./problem.ts";

/** Returns the OpenAPI `responses` entries for problems with these codes, by status. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, {
    description: group.join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
