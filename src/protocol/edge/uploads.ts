/**
 * The messages of `/v1/uploads` between a client and an edge, the public server in front of GPU hosts. A large body is uploaded in parts,
 * each with a PUT to a signed URL.
 */

import { z } from "zod";
import { digestSchema } from "../digest_schema.ts";
import { MAX_BODY_BYTES } from "../limits.ts";

/** The largest number of parts of an upload in S3. */
const MAX_PARTS = 10_000;

/** The body of `POST /v1/uploads`. */
export const uploadRequestSchema = z.strictObject({
  size: z.int().min(1).max(MAX_BODY_BYTES).meta({ description: "The size of the whole body in bytes" }),
  sha256: z.string().regex(/^(sha256:)?[0-9a-f]{64}$/, {
    error: 'must be 64 lowercase hexadecimal digits, optionally after "sha256:"',
  }).meta({ description: "The sha-256 of the whole body", example: "0".repeat(64) }),
});

/** An upload in progress. The client PUTs `part_size` bytes to each URL except the last, and the remaining bytes to the last. */
export const uploadSchema = z.object({
  upload: z.string().meta({ description: "The id of the upload" }),
  part_size: z.int().min(1).meta({ description: "The size in bytes of every part except the last" }),
  parts: z.array(z.object({ number: z.int().min(1), url: z.url() })).min(1),
  expires: z.iso.datetime().meta({ description: "When the URLs expire. GET the upload for new ones" }),
}).meta({ id: "Upload" });

/** An uploaded part. `etag` is the header ETag of the answer to the part's PUT. */
const uploadedPartSchema = z.strictObject({
  number: z.int().min(1).max(MAX_PARTS),
  etag: z.string().min(1).max(256),
});

/** The body of `POST /v1/uploads/:id/complete`. */
export const completeRequestSchema = z.strictObject({
  parts: z.array(uploadedPartSchema).min(1).max(MAX_PARTS),
});

/** The answer to a completed upload. */
export const completedSchema = z.object({ blob: digestSchema }).meta({ id: "CompletedUpload" });

export type { CompletedUpload, Upload, UploadedPart } from "../answers/uploads.ts";
