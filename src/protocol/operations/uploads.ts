/** The operations of `/v1/uploads` at an edge, by which clients upload bodies that are too large for one request. */

import { z } from "zod";
import {
  completedSchema,
  completeRequestSchema,
  uploadRequestSchema,
  uploadSchema,
} from "../edge/uploads.ts";
import { EDGE_PROBLEMS, json, JSON_PROBLEMS, NO_QUERY, type Operation, WITH_KEY } from "./operation.ts";

const params = z.object({ id: z.uuid().meta({ description: "The id of the upload" }) });

/** Begins an upload. */
export const BEGIN_UPLOAD = {
  method: "post",
  path: "/v1/uploads",
  operationId: "beginUpload",
  summary: "Begin an upload",
  description:
    "Send each part to its URL with `PUT`, repeat parts that failed, and complete the upload with the ETags of the parts. The URLs carry " +
    "their own authorisation, so the parts are sent without an API key.",
  tags: ["Uploads"],
  security: WITH_KEY,
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

/** Renews the URLs of an upload. */
export const RENEW_UPLOAD = {
  method: "get",
  path: "/v1/uploads/{id}",
  operationId: "renewUpload",
  summary: "Renew the URLs of an upload",
  tags: ["Uploads"],
  security: WITH_KEY,
  request: { params, query: NO_QUERY },
  responses: { 200: { description: "The upload with new URLs", content: json(uploadSchema) } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;

/** Completes an upload. */
export const COMPLETE_UPLOAD = {
  method: "post",
  path: "/v1/uploads/{id}/complete",
  operationId: "completeUpload",
  summary: "Complete an upload",
  description:
    "Joins the parts and verifies the digest. Only then does the blob exist. Bytes with another digest are deleted.",
  tags: ["Uploads"],
  security: WITH_KEY,
  request: { params, query: NO_QUERY, body: { required: true, content: json(completeRequestSchema) } },
  responses: { 200: { description: "The blob", content: json(completedSchema) } },
  problems: [...EDGE_PROBLEMS, ...JSON_PROBLEMS, "not_found", "digest_mismatch"],
} satisfies Operation;

/** Abandons an upload. */
export const ABANDON_UPLOAD = {
  method: "delete",
  path: "/v1/uploads/{id}",
  operationId: "abandonUpload",
  summary: "Abandon an upload",
  tags: ["Uploads"],
  security: WITH_KEY,
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The upload is deleted" } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;
