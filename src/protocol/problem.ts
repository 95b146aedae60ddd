/** The problem document (RFC 9457), with which a server answers a request that it refuses. */

import { z } from "zod";
import { type ProblemCode, PROBLEMS } from "./problem_codes.ts";

export const PROBLEM_TYPE = "application/problem+json";

const CODES = Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]];

/** A problem document. Further members depend on the code, such as `limit`, `tensor`, `index` or `order`. */
export const problemSchema = z.looseObject({
  type: z.string().meta({ example: "urn:pare:problem:busy" }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.enum(CODES),
  request_id: z.string(),
  errors: z.array(z.object({ parameter: z.string(), detail: z.string() })).optional().meta({
    description: "One entry per invalid parameter",
  }),
}).meta({ id: "Problem", description: "RFC 9457 problem" });

export type Problem = z.infer<typeof problemSchema>;

/** The members of a problem besides the standard ones. */
export type ProblemMembers = Readonly<Record<string, unknown>>;

/** Returns the document of the problem `code`, with `members` in addition to the standard ones. */
export function makeProblem(
  code: ProblemCode,
  detail: string,
  requestId: string,
  members: ProblemMembers = {},
): Problem {
  const { status, title } = PROBLEMS[code];
  return { type: `urn:pare:problem:${code}`, title, status, detail, code, request_id: requestId, ...members };
}
