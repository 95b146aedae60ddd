/** Parts that the OpenAPI documents of the two servers, host and edge, have in common. */

import { PROBLEM_TYPE, SAFETENSORS_TYPE } from "./headers.ts";
import { type ProblemCode, PROBLEMS, problemSchema } from "./problem.ts";

/** The `content` of a safetensors body. OpenAPI 3.1 describes raw bytes only by their media type. */
export const SAFETENSORS_CONTENT = {
  [SAFETENSORS_TYPE]: { schema: { type: "string", format: "binary" } },
} as const;

/** API keys as a security scheme. Each server registers it under the name `key`. */
export const KEY_SCHEME = { type: "http", scheme: "bearer" } as const;

/** Returns the `responses` of a route that may answer with the problems `codes`. There is one entry per HTTP status. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const codesOfStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries([...codesOfStatus].map(([status, codes]) => [status, {
    description: codes.join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
