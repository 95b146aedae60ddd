/** The messages of `/v1/uploads`, shared by edge and client: large bodies in parts, by signed URLs. */

import { z } from "zod";
import { digestSchema } from "./digest.ts";
import { MAX_BODY_BYTES } from "./limits.ts";

/** S3 numbers parts from 1 and knows no more than these. */
const MAX_PARTS = 10_000;

/** `POST /v1/uploads`. */
export const uploadRequestSchema = z.strictObject({
  size: z.int().min(1).max(MAX_BODY_BYTES).meta({ description: "Bytes of the whole body" }),
  sha256: z.string().regex(/^(sha256:)?[0-9a-f]{64}$/, {
    error: "must be 64 lowercase hexadecimal digits",
  }).meta({ description: "sha-256 of the whole body", example: "0".repeat(64) }),
});

/** An upload under way: PUT `part_size` bytes to each URL, the last part the rest. */
export const uploadSchema = z.object({
  upload: z.string().meta({ description: "Its id" }),
  part_size: z.int().min(1).meta({ description: "Bytes of every part but the last" }),
  parts: z.array(z.object({ number: z.int().min(1), url: z.url() })).min(1),
  expires: z.iso.datetime().meta({ description: "When the URLs end; GET the upload for fresh ones" }),
}).meta({ id: "Upload" });

/** An upload under way. */
export type Upload = z.infer<typeof uploadSchema>;

/** A part that was taken: its number, and the ETag header that its PUT answered. */
export const uploadedPartSchema = z.strictObject({
  number: z.int().min(1).max(MAX_PARTS),
  etag: z.string().min(1).max(256),
});

/** A part that was taken. */
export type UploadedPart = z.infer<typeof uploadedPartSchema>;

/** `POST /v1/uploads/:id/complete`. */
export const completeRequestSchema = z.strictObject({
  parts: z.array(uploadedPartSchema).min(1).max(MAX_PARTS),
});

/** What a completed upload is. */
export const completedSchema = z.object({ blob: digestSchema }).meta({ id: "CompletedUpload" });
