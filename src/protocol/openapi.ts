/** Parts of the OpenAPI documents that host and edge share. */

import { PROBLEM_TYPE, SAFETENSORS_TYPE } from "./headers.ts";
import { type ProblemCode, PROBLEMS, problemSchema } from "./problem.ts";

/** The `content` of a safetensors body. OpenAPI 3.1 describes raw bytes only by their media type. */
export const SAFETENSORS_CONTENT = {
  [SAFETENSORS_TYPE]: { schema: { type: "string", format: "binary" } },
} as const;

/** API keys as a security scheme. It is registered as `key`. */
export const KEY_SCHEME = { type: "http", scheme: "bearer" } as const;

/** Returns the `responses` of a route for problems with these codes, one entry per status. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const codesOfStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries([...codesOfStatus].map(([status, codes]) => [status, {
    description: codes.join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
