/**
 * The types of the answers of `/v1/uploads`, for code that reads them. Servers describe these answers by the schemas in
 * `../edge/uploads.ts`. A test fails if the types and the schemas have different names or types.
 */

import type { Digest } from "../digest.ts";

/** An upload in progress. The client PUTs `part_size` bytes to each URL except the last, and the remaining bytes to the last. */
export interface Upload {
  /** The id of the upload. */
  readonly upload: string;
  /** The size of every part except the last, in bytes. */
  readonly part_size: number;
  /** The signed URL of each part. The numbers begin with 1. */
  readonly parts: { readonly number: number; readonly url: string }[];
  /** The time at which the URLs expire, in ISO 8601. */
  readonly expires: string;
}

/** An uploaded part. */
export interface UploadedPart {
  /** The number of the part, from 1. */
  readonly number: number;
  /** The header ETag of the answer to the part's PUT. */
  readonly etag: string;
}

/** The answer to a completed upload, and to `POST /v1/uploads` for a blob that exists already. */
export interface CompletedUpload {
  /** The digest of the stored bytes. */
  readonly blob: Digest;
}
