/** How routes of host and edge describe the problems that they may answer. */

import { PROBLEM_TYPE } from "./media_type.ts";
import { type ProblemCode, PROBLEMS, problemSchema } from "./problem.ts";

/** The `responses` entries for problems of these codes, by status. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, {
    description: group.join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
