/** Pieces that the OpenAPI description of several resources shares. */

import { SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import type { ProblemCode } from "../src/protocol/problem.ts";

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
