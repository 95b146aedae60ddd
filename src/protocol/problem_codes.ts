/**
 * The table of the error codes of the HTTP contract. The host and the edge in front of it map their errors to codes in
 * `layer/errors.ts`, `routes/errors.ts` and `edge/problems.ts`.
 */

import { BODY_WINDOW_SECONDS, EDGE_BODY_SECONDS, LEAST_BYTES_PER_SECOND } from "./limits.ts";

/** Every code with its HTTP status, its title, and its cause, a sentence without its first capital and full stop. */
export const PROBLEMS = {
  malformed_safetensors: {
    status: 400,
    title: "The body is not a valid safetensors file",
    cause:
      "the body breaks a rule of the safetensors format. `tensor` or `byte` says where, and `detail` says why",
  },
  truncated_body: {
    status: 400,
    title: "The body ended early",
    cause: "the body ended early",
  },
  invalid_parameter: {
    status: 400,
    title: "A parameter is invalid",
    cause:
      "a parameter, or a member of a JSON body, is unknown or invalid. `errors` has one entry per parameter",
  },
  invalid_host: {
    status: 400,
    title: "The host name is not one of this server",
    cause:
      "the header `Host` is missing, or it or the URL has a name that is not one of the server. A host that listens on loopback, and an edge that is open to every client, accept loopback names and the names in `PARE_HOSTS`",
  },
  unauthorized: {
    status: 401,
    title: "A valid key is required",
    cause: "the API key is missing or not accepted",
  },
  forbidden: {
    status: 403,
    title: "The key does not allow this",
    cause: "the API key lacks the scope of the resource",
  },
  hessian_not_found: {
    status: 404,
    title: "The statistics are not stored",
    cause: "the statistics are not stored: send them again",
  },
  states_not_found: {
    status: 404,
    title: "The hidden states are not stored",
    cause:
      "the hidden states before the block are not stored under this name: create them again, and run the earlier blocks",
  },
  not_found: {
    status: 404,
    title: "There is nothing here",
    cause: "the blob, job, upload, run or path does not exist. `detail` names it",
  },
  method_not_allowed: {
    status: 405,
    title: "The method is not allowed here",
    cause: "the resource does not support the method. The header `Allow` lists the methods that it supports",
  },
  too_slow: {
    status: 408,
    title: "The body arrived too slowly",
    cause:
      `fewer than ${LEAST_BYTES_PER_SECOND} bytes per second of the body arrived during ${BODY_WINDOW_SECONDS} seconds, or an edge that solves a layer itself did not receive the whole body within ${EDGE_BODY_SECONDS} seconds`,
  },
  digest_mismatch: {
    status: 409,
    title: "The body does not have the given digest",
    cause: "the bytes do not have the named digest. `expected` and `got` have both digests",
  },
  idempotency_conflict: {
    status: 409,
    title: "The idempotency key was used for another request",
    cause: "the idempotency key was used with another body",
  },
  length_required: {
    status: 411,
    title: "Content-Length is required",
    cause: "the Content-Length is missing or malformed",
  },
  too_large: {
    status: 413,
    title: "The request is too large",
    cause:
      "the body or the statistics are too large, or the layer needs more memory than the device has. `limit` has the limit in bytes, if it is a fixed one, and `uploads` the URL for large bodies at an edge",
  },
  unsupported_media_type: {
    status: 415,
    title: "The type of the body is not supported here",
    cause: "the Content-Type is not one that the resource accepts, or the body has a Content-Encoding",
  },
  shape_mismatch: {
    status: 422,
    title: "The tensors do not fit together",
    cause:
      "a tensor is missing or unknown, or its shape or dtype does not fit. `tensor`, `expected` and `got` have details",
  },
  non_finite: {
    status: 422,
    title: "A tensor holds NaN or infinity",
    cause:
      "a tensor has a NaN or an infinity, or a pruned weight is too large for the dtype of the answer. `tensor` names the tensor, and `index` has the first position",
  },
  not_symmetric: {
    status: 422,
    title: "The Hessian is not symmetric",
    cause: "the two triangles of `hessian` differ. `index` has the first position",
  },
  not_positive_definite: {
    status: 422,
    title: "The Hessian is not positive definite",
    cause:
      "the Hessian could not be factored, even with more damping. `order` is the order of the first leading minor that is not positive, `damping` the last λ. For a negative entry on the diagonal, `index` has its position",
  },
  unsupported: {
    status: 422,
    title: "The parameter's value is not supported here",
    cause:
      "the layer is too large for the method, or this edge was deployed without a part that the request needs. `parameter` and `value` name an unsupported value",
  },
  busy: {
    status: 429,
    title: "The server is busy",
    cause:
      "the queue is full, the request waited in it for too long, the device has no memory for another layer at the moment, or the API key has used its requests of this minute at an edge. Requests without a key are counted per network address. The header `Retry-After` says when to try again",
  },
  internal: {
    status: 500,
    title: "The host failed",
    cause: "the server failed. Its log has the error under the `request_id`",
  },
  blob_unavailable: {
    status: 502,
    title: "A blob could not be read or written",
    cause: "a file at a signed URL could not be read or written. Only tasks of an edge end with this code",
  },
  hub_unreachable: {
    status: 503,
    title: "The Hugging Face hub cannot be reached",
    cause: "the Hugging Face hub, which has the model of a run, cannot be reached. Try again later",
  },
  no_device: {
    status: 503,
    title: "No device is available",
    cause:
      "there is no usable device, or the edge cannot reach its host. The header `Retry-After` says when to try again",
  },
  device_lost: {
    status: 503,
    title: "The device was lost",
    cause: "the device was lost and is being reopened. The header `Retry-After` says when to try again",
  },
  shutting_down: {
    status: 503,
    title: "The host is shutting down",
    cause:
      "the host is shutting down. The header `Retry-After` says when another one may have taken its place",
  },
} as const satisfies Record<string, { status: number; title: string; cause: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** Returns the codes as a Markdown table. */
export function problemTable(): string {
  const rows = Object.entries(PROBLEMS).map(([code, { status, cause }]) =>
    `| ${status} | \`${code}\` | ${cause} |`
  );
  return ["| status | code | cause |", "| --- | --- | --- |", ...rows].join("\n");
}
