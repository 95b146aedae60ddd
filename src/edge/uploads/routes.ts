/** The routes of `/v1/uploads`. Clients send the parts to signed URLs of the bucket, past the Worker. */

import { guardedRoute, requireClient } from "../auth.ts";
import type { EdgeApp } from "../bindings.ts";
import { findFreshBlob } from "../blobs/store.ts";
import { MAX_JSON_BODY_BYTES, requireJsonBody } from "../requests/body_length.ts";
import { abortUpload, beginUpload, completeUpload, describeUpload } from "./multipart.ts";
import { invalidParameter } from "../../protocol/refusal.ts";
import {
  ABANDON_UPLOAD,
  BEGIN_UPLOAD,
  COMPLETE_UPLOAD,
  RENEW_UPLOAD,
} from "../../protocol/resources/uploads.ts";

export function uploadRoutes(app: EdgeApp): void {
  const jsonBody = requireJsonBody(MAX_JSON_BODY_BYTES, "the body");
  app.openapi(guardedRoute(BEGIN_UPLOAD, jsonBody), async (c) => {
    const { size, sha256 } = c.req.valid("json"), digest = `sha256:${sha256.replace("sha256:", "")}`;
    const existing = await findFreshBlob(c.env, digest);
    if (existing) {
      requireSize(existing.size, size);
      return c.json({ blob: digest }, 200);
    }
    const upload = await beginUpload(c.env, requireClient(c), digest, size);
    return c.json(upload, 201, { Location: `/v1/uploads/${upload.upload}` });
  });
  app.openapi(
    guardedRoute(RENEW_UPLOAD, jsonBody),
    async (c) => c.json(await describeUpload(c.env, requireClient(c), c.req.valid("param").id), 200),
  );
  app.openapi(guardedRoute(COMPLETE_UPLOAD, jsonBody), async (c) => {
    const { id } = c.req.valid("param"), { parts } = c.req.valid("json");
    const { digest } = await completeUpload(c.env, requireClient(c), id, parts);
    return c.json({ blob: digest }, 200);
  });
  app.openapi(guardedRoute(ABANDON_UPLOAD, jsonBody), async (c) => {
    await abortUpload(c.env, requireClient(c), c.req.valid("param").id);
    return c.body(null, 204);
  });
}

/** Checks the declared size of a blob that exists already. @throws {Refusal} `invalid_parameter` if it is wrong */
function requireSize(stored: number, declared: number): void {
  if (stored === declared) return;
  throw invalidParameter(
    "size",
    `must be ${stored}, the bytes of the stored blob with this digest, got ${declared}`,
  );
}
