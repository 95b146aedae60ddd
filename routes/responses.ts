/** Parts of the OpenAPI document that several resources of a host share. */

import { SAFETENSORS_CONTENT } from "../src/protocol/openapi.ts";
import type { ProblemCode } from "../src/protocol/problem.ts";

/** A safetensors body of a request. */
export const SAFETENSORS_BODY = {
  required: true,
  description: "A safetensors file",
  content: SAFETENSORS_CONTENT,
} as const;

/** The codes with which a request with a safetensors body can be refused, whatever the resource. */
export const BODY_PROBLEM_CODES = [
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
