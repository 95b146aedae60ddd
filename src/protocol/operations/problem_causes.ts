/** The causes of the problems, for the OpenAPI documents and the page of the contract. */

import { BODY_WINDOW_SECONDS, EDGE_BODY_SECONDS, LEAST_BYTES_PER_SECOND } from "../limits.ts";
import { type ProblemCode, PROBLEMS } from "../problem.ts";

/** When a server answers with each code, as a sentence without its first capital and its full stop. */
export const PROBLEM_CAUSES: Readonly<Record<ProblemCode, string>> = {
  malformed_safetensors:
    "the body breaks a rule of the safetensors format. `tensor` or `byte` says where, and `detail` says why",
  truncated_body: "the body ended early",
  invalid_parameter:
    "a parameter, or a member of a JSON body, is unknown or invalid. `errors` has one entry per parameter",
  invalid_host:
    "the header `Host` is missing, or it or the URL has a name that is not one of the server. A host that listens on loopback, and an edge that is open to every client, accept loopback names and the names in `PARE_HOSTS`",
  unauthorized: "the API key is missing or not accepted",
  forbidden: "the API key lacks the scope of the resource",
  hessian_not_found: "the statistics are not stored: send them again",
  not_found: "the blob, job, upload or path does not exist. `detail` names it",
  method_not_allowed:
    "the resource does not support the method. The header `Allow` lists the methods that it supports",
  too_slow:
    `fewer than ${LEAST_BYTES_PER_SECOND} bytes per second of the body arrived during ${BODY_WINDOW_SECONDS} seconds, or an edge that solves a layer itself did not receive the whole body within ${EDGE_BODY_SECONDS} seconds`,
  digest_mismatch: "the bytes do not have the named digest. `expected` and `got` have both digests",
  idempotency_conflict: "the idempotency key was used with another body",
  length_required: "the Content-Length is missing or malformed",
  too_large:
    "the body or the statistics are too large, or the layer needs more memory than the device has. `limit` has the limit in bytes, if it is a fixed one, and `uploads` the URL for large bodies at an edge",
  unsupported_media_type:
    "the Content-Type is not one that the resource accepts, or the body has a Content-Encoding",
  shape_mismatch:
    "a tensor is missing or unknown, or its shape or dtype does not fit. `tensor`, `expected` and `got` have details",
  non_finite:
    "a tensor has a NaN or an infinity, or a pruned weight is too large for the dtype of the answer. `tensor` names the tensor, and `index` has the first position",
  not_symmetric: "the two triangles of `hessian` differ. `index` has the first position",
  not_positive_definite:
    "the Hessian could not be factored, even with more damping. `order` is the order of the first leading minor that is not positive, `damping` the last λ. For a negative entry on the diagonal, `index` has its position",
  unsupported:
    "the layer is too large for the method, or this edge was deployed without a part that the request needs. `parameter` and `value` name an unsupported value",
  busy:
    "the queue is full, the request waited in it for too long, the device has no memory for another layer at the moment, or the API key has used its requests of this minute at an edge. Requests without a key are counted per network address. The header `Retry-After` says when to try again",
  internal: "the server failed. Its log has the error under the `request_id`",
  blob_unavailable:
    "a file at a signed URL could not be read or written. Only tasks of an edge end with this code",
  no_device:
    "there is no usable device, or the edge cannot reach its host. The header `Retry-After` says when to try again",
  device_lost: "the device was lost and is being reopened. The header `Retry-After` says when to try again",
  shutting_down:
    "the host is shutting down. The header `Retry-After` says when another one may have taken its place",
};

/** Returns the errors of the contract as a Markdown table. */
export function problemTable(): string {
  const rows = Object.entries(PROBLEMS).map(([code, { status }]) =>
    `| ${status} | \`${code}\` | ${PROBLEM_CAUSES[code as ProblemCode]} |`
  );
  return ["| status | code | cause |", "| --- | --- | --- |", ...rows].join("\n");
}
