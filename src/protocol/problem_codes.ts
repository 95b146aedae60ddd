/** The error codes of the HTTP contract. They are apart from the schema of the problem document, so that a client needs no schema library. */

/** Every code with its HTTP status and title. */
export const PROBLEMS = {
  malformed_safetensors: { status: 400, title: "The body is not a valid safetensors file" },
  truncated_body: { status: 400, title: "The body ended early" },
  invalid_parameter: { status: 400, title: "A parameter is invalid" },
  invalid_host: { status: 400, title: "The host name is not one of this server" },
  unauthorized: { status: 401, title: "A valid key is required" },
  forbidden: { status: 403, title: "The key does not allow this" },
  hessian_not_found: { status: 404, title: "The statistics are not stored" },
  not_found: { status: 404, title: "There is nothing here" },
  method_not_allowed: { status: 405, title: "The method is not allowed here" },
  too_slow: { status: 408, title: "The body arrived too slowly" },
  digest_mismatch: { status: 409, title: "The body does not have the given digest" },
  idempotency_conflict: { status: 409, title: "The idempotency key was used for another request" },
  length_required: { status: 411, title: "Content-Length is required" },
  too_large: { status: 413, title: "The request is too large" },
  unsupported_media_type: { status: 415, title: "The type of the body is not supported here" },
  shape_mismatch: { status: 422, title: "The tensors do not fit together" },
  non_finite: { status: 422, title: "A tensor holds NaN or infinity" },
  not_symmetric: { status: 422, title: "The Hessian is not symmetric" },
  not_positive_definite: { status: 422, title: "The Hessian is not positive definite" },
  unsupported: { status: 422, title: "The parameter's value is not supported here" },
  busy: { status: 429, title: "The server is busy" },
  internal: { status: 500, title: "The host failed" },
  blob_unavailable: { status: 502, title: "A blob could not be read or written" },
  no_device: { status: 503, title: "No device is available" },
  device_lost: { status: 503, title: "The device was lost" },
  shutting_down: { status: 503, title: "The host is shutting down" },
} as const satisfies Record<string, { status: number; title: string }>;

/** The code of a problem. */
export type ProblemCode = keyof typeof PROBLEMS;
