/** Parts of the OpenAPI description that several resources share. */

import { SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import type { ProblemCode } from "../src/protocol/problem.ts";

/** A safetensors body. OpenAPI 3.1 describes raw bytes by their media type only. */
export const SAFETENSORS_BODY = {
  required: true,
  description: "A safetensors file",
  content: { [SAFETENSORS_TYPE]: { schema: { type: "string", format: "binary" } } },
} as const;

/** The codes with which every request with a safetensors body can be refused. */
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
