/** Pieces that the OpenAPI description of several resources shares. */

import { SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import { type ProblemCode, PROBLEMS, problemSchema } from "../src/protocol/problem.ts";
import { PROBLEM_TYPE } from "../src/protocol/media_type.ts";

/** A body of raw bytes. OpenAPI 3.1 says no more of one than its media type. */
export const SAFETENSORS_BODY = {
  required: true,
  description: "A safetensors file",
  content: { [SAFETENSORS_TYPE]: { schema: { type: "string", format: "binary" } } },
} as const;

/** What any request with a body can be refused for. */
export const BODY_CODES = [
  "malformed_safetensors",
  "truncated_body",
  "invalid_parameter",
  "unauthorized",
  "forbidden",
  "length_required",
  "too_large",
  "unsupported_media_type",
  "shape_mismatch",
  "non_finite",
  "not_symmetric",
  "busy",
  "no_device",
  "device_lost",
] as const satisfies ProblemCode[];

/** The `responses` entries for problems of these codes, by status. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, {
    description: group.join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
