/** Checks a problem, the document with which a server answers a failed request. */

import assert from "node:assert/strict";
import { type Problem, problemSchema } from "../../src/protocol/refusal.ts";
import { type ProblemCode, PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { problemOf } from "./host.ts";

/** Fails unless `response` is a complete problem with this code, in agreement with the table of problems. Returns the problem. */
export async function assertProblem(
  response: Response,
  code: ProblemCode,
  members: object = {},
): Promise<Problem> {
  assert.equal(response.headers.get("Content-Type"), "application/problem+json");
  const problem = problemSchema.parse(await problemOf(response));
  assert.equal(problem.code, code);
  assert.equal(response.status, PROBLEMS[code].status);
  assert.deepEqual(
    [problem.type, problem.title, problem.status],
    [`urn:pare:problem:${code}`, PROBLEMS[code].title, response.status],
  );
  assert.ok(problem.detail);
  assert.equal(problem.request_id, response.headers.get("X-Request-Id"));
  for (const [name, value] of Object.entries(members)) assert.deepEqual(problem[name], value, name);
  return problem;
}
