/** `/v1/uploads` at an edge. Clients upload large bodies in parts, each with a PUT to a signed URL. */

import { z } from "zod";
import { digestSchema, SDK_TEXTS } from "./fields.ts";
import { MAX_BODY_BYTES } from "../limits.ts";
import { EDGE_PROBLEMS, json, JSON_PROBLEMS, NO_QUERY, type Operation } from "./operation.ts";

/** The largest number of parts of an upload in S3. */
const MAX_PARTS = 10_000;

/** The body of `POST /v1/uploads`. */
export const uploadRequestSchema = z.strictObject({
  size: z.int().min(1).max(MAX_BODY_BYTES).meta({ description: "The size of the whole body in bytes" }),
  sha256: z.string().regex(/^(sha256:)?[0-9a-f]{64}$/, {
    error: 'must be 64 lowercase hexadecimal digits, optionally after "sha256:"',
  }).meta({ description: "The sha-256 of the whole body", example: "0".repeat(64) }),
});

export const uploadSchema = z.object({
  upload: z.string().meta({ description: "The id of the upload" }),
  part_size: z.int().min(1).meta({ description: "The size in bytes of every part except the last" }),
  parts: z.array(z.object({ number: z.int().min(1), url: z.url() })).min(1),
  expires: z.iso.datetime().meta({ description: "When the URLs expire. GET the upload for new ones" }),
}).meta({ id: "Upload" }).register(SDK_TEXTS, {
  description:
    "An upload in progress. The client PUTs `part_size` bytes to each URL except the last, and the remaining bytes to the last",
});

/** An uploaded part. `etag` is the header ETag of the answer to the part's PUT. */
const uploadedPartSchema = z.strictObject({
  number: z.int().min(1).max(MAX_PARTS),
  etag: z.string().min(1).max(256),
});

/** The body of `POST /v1/uploads/:id/complete`. */
export const completeRequestSchema = z.strictObject({
  parts: z.array(uploadedPartSchema).min(1).max(MAX_PARTS),
});

export type UploadedParts = Readonly<z.infer<typeof completeRequestSchema>["parts"]>;

/** The answer to a completed upload. */
export const completedSchema = z.object({ blob: digestSchema }).meta({ id: "CompletedUpload" })
  .register(SDK_TEXTS, { description: "An upload whose bytes are stored" });

const params = z.object({ id: z.uuid().meta({ description: "The id of the upload" }) });

export const BEGIN_UPLOAD = {
  method: "post",
  path: "/v1/uploads",
  operationId: "beginUpload",
  summary: "Begin an upload",
  description:
    "Send each part to its URL with `PUT`, repeat parts that failed, and complete the upload with the ETags of the parts. The URLs carry " +
    "their own authorisation, so the parts are sent without an API key.",
  tags: ["Uploads"],
  scope: "uploads",
  request: { query: NO_QUERY, body: { required: true, content: json(uploadRequestSchema) } },
  responses: {
    200: {
      description: "The blob exists already, so nothing needs to be sent",
      content: json(completedSchema),
    },
    201: {
      description: "The upload",
      headers: { Location: { description: "The path of the upload", schema: { type: "string" } } },
      content: json(uploadSchema),
    },
  },
  problems: [...EDGE_PROBLEMS, ...JSON_PROBLEMS],
} satisfies Operation;

export const RENEW_UPLOAD = {
  method: "get",
  path: "/v1/uploads/{id}",
  operationId: "renewUpload",
  summary: "Renew the URLs of an upload",
  tags: ["Uploads"],
  scope: "uploads",
  request: { params, query: NO_QUERY },
  responses: { 200: { description: "The upload with new URLs", content: json(uploadSchema) } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;

export const COMPLETE_UPLOAD = {
  method: "post",
  path: "/v1/uploads/{id}/complete",
  operationId: "completeUpload",
  summary: "Complete an upload",
  description:
    "Joins the parts and verifies the digest. Only then does the blob exist. Bytes with another digest are deleted.",
  tags: ["Uploads"],
  scope: "uploads",
  request: { params, query: NO_QUERY, body: { required: true, content: json(completeRequestSchema) } },
  responses: { 200: { description: "The blob", content: json(completedSchema) } },
  problems: [...EDGE_PROBLEMS, ...JSON_PROBLEMS, "not_found", "digest_mismatch"],
} satisfies Operation;

export const ABANDON_UPLOAD = {
  method: "delete",
  path: "/v1/uploads/{id}",
  operationId: "abandonUpload",
  summary: "Abandon an upload",
  tags: ["Uploads"],
  scope: "uploads",
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The upload is deleted" } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;
