/**
 * The routes of `/v1/uploads`, for uploads of large bodies. Clients send the parts to signed URLs of the
 * bucket, so the bytes do not pass through the Worker.
 */

import { createRoute, z } from "@hono/zod-openapi";
import {
  completedSchema,
  completeRequestSchema,
  uploadRequestSchema,
  uploadSchema,
} from "../../protocol/edge/uploads.ts";
import { requireEdgeKey } from "../auth.ts";
import type { EdgeApp } from "../edge_env.ts";
import { problemResponses } from "../../protocol/openapi.ts";
import { abortUpload, beginUpload, completeUpload, describeUpload } from "./multipart.ts";

const params = z.object({ id: z.uuid().meta({ description: "The id of the upload" }) });
/** The codes that every route of this file can answer. */
const ACCESS_CODES = ["invalid_parameter", "unauthorized", "forbidden", "busy", "unsupported"] as const;

/** Describes a JSON body in the OpenAPI document. */
function json<T extends z.ZodType>(schema: T) {
  return { required: true, content: { "application/json": { schema } } };
}

const begin = createRoute({
  method: "post",
  path: "/v1/uploads",
  summary: "Begin an upload",
  description:
    "Send each part to its URL with PUT, repeat parts that failed, and complete the upload with the ETags. `HEAD /v1/blobs/sha256:HEX` says whether the blob exists already.",
  security: [{ key: [] }],
  request: { body: json(uploadRequestSchema) },
  responses: {
    201: { description: "The upload", content: { "application/json": { schema: uploadSchema } } },
    ...problemResponses([...ACCESS_CODES, "unsupported_media_type"]),
  },
});

const describe = createRoute({
  method: "get",
  path: "/v1/uploads/{id}",
  summary: "Renew the URLs of an upload",
  security: [{ key: [] }],
  request: { params },
  responses: {
    200: { description: "The upload", content: { "application/json": { schema: uploadSchema } } },
    ...problemResponses([...ACCESS_CODES, "not_found"]),
  },
});

const complete = createRoute({
  method: "post",
  path: "/v1/uploads/{id}/complete",
  summary: "Complete an upload",
  description:
    "Joins the parts and verifies the digest. Only then does the blob exist. Bytes with another digest are deleted.",
  security: [{ key: [] }],
  request: { params, body: json(completeRequestSchema) },
  responses: {
    200: { description: "The blob", content: { "application/json": { schema: completedSchema } } },
    ...problemResponses([...ACCESS_CODES, "not_found", "digest_mismatch", "unsupported_media_type"]),
  },
});

const abort = createRoute({
  method: "delete",
  path: "/v1/uploads/{id}",
  summary: "Delete an upload",
  security: [{ key: [] }],
  request: { params },
  responses: {
    204: { description: "The upload is deleted" },
    ...problemResponses([...ACCESS_CODES, "not_found"]),
  },
});

/** Mounts the resources. */
export function uploadRoutes(app: EdgeApp): void {
  app.use("/v1/uploads", requireEdgeKey("uploads"));
  app.use("/v1/uploads/*", requireEdgeKey("uploads"));
  app.openapi(begin, async (c) => {
    const { size, sha256 } = c.req.valid("json");
    const upload = await beginUpload(c.env, `sha256:${sha256.replace("sha256:", "")}`, size);
    return c.json(upload, 201, { Location: `/v1/uploads/${upload.upload}` });
  });
  app.openapi(describe, async (c) => c.json(await describeUpload(c.env, c.req.valid("param").id), 200));
  app.openapi(complete, async (c) => {
    const { digest } = await completeUpload(c.env, c.req.valid("param").id, c.req.valid("json").parts);
    return c.json({ blob: digest }, 200);
  });
  app.openapi(abort, async (c) => {
    await abortUpload(c.env, c.req.valid("param").id);
    return c.body(null, 204);
  });
}
