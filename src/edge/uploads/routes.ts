/**
 * The routes of `/v1/uploads`, for uploads of large bodies. Clients send the parts to signed URLs of the
 * bucket, so the bytes do not pass through the Worker.
 */

import { createRoute } from "@hono/zod-openapi";
import { routeConfig } from "../../protocol/operations/operation.ts";
import {
  ABANDON_UPLOAD,
  BEGIN_UPLOAD,
  COMPLETE_UPLOAD,
  RENEW_UPLOAD,
} from "../../protocol/operations/uploads.ts";
import { requireEdgeKey } from "../auth.ts";
import { findFreshBlob } from "../blobs/store.ts";
import type { EdgeApp } from "../edge_env.ts";
import { abortUpload, beginUpload, completeUpload, describeUpload } from "./multipart.ts";

/** Mounts the resources. */
export function uploadRoutes(app: EdgeApp): void {
  app.use("/v1/uploads", requireEdgeKey("uploads"));
  app.use("/v1/uploads/*", requireEdgeKey("uploads"));
  app.openapi(createRoute(routeConfig(BEGIN_UPLOAD)), async (c) => {
    const { size, sha256 } = c.req.valid("json"), digest = `sha256:${sha256.replace("sha256:", "")}`;
    if (await findFreshBlob(c.env, digest)) return c.json({ blob: digest }, 200);
    const upload = await beginUpload(c.env, digest, size);
    return c.json(upload, 201, { Location: `/v1/uploads/${upload.upload}` });
  });
  app.openapi(
    createRoute(routeConfig(RENEW_UPLOAD)),
    async (c) => c.json(await describeUpload(c.env, c.req.valid("param").id), 200),
  );
  app.openapi(createRoute(routeConfig(COMPLETE_UPLOAD)), async (c) => {
    const { digest } = await completeUpload(c.env, c.req.valid("param").id, c.req.valid("json").parts);
    return c.json({ blob: digest }, 200);
  });
  app.openapi(createRoute(routeConfig(ABANDON_UPLOAD)), async (c) => {
    await abortUpload(c.env, c.req.valid("param").id);
    return c.body(null, 204);
  });
}
