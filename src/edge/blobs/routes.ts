/** `HEAD` and `GET /v1/blobs/sha256:HEX` read blobs, which uploads and jobs create. */

import { OCTET_STREAM_TYPE } from "../../protocol/headers.ts";
import { HAS_BLOB, READ_BLOB } from "../../protocol/resources/blobs.ts";
import { routeConfig } from "../../protocol/resources/operation.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { guardedRoute } from "../auth.ts";
import type { EdgeApp } from "../bindings.ts";
import { earlyStatus, honouredRange, parseRange } from "../requests/preconditions.ts";
import { deletedBytes, findBlob, findFreshBlob, requireBucket } from "./store.ts";

export function blobRoutes(app: EdgeApp): void {
  // Hono answers HEAD by the handler of GET.
  app.openAPIRegistry.registerPath(routeConfig(HAS_BLOB));
  app.openapi(guardedRoute(READ_BLOB), async (c) => {
    const { digest } = c.req.valid("param");
    const isHead = c.req.method === "HEAD";
    const blob = await (isHead ? findFreshBlob : findBlob)(c.env, digest);
    if (!blob) throw new Refusal("not_found", `no blob has digest ${digest}`);
    const etag = `"${digest}"`;
    const headers: Record<string, string> = {
      "Accept-Ranges": "bytes",
      "Cache-Control": "private, max-age=86400, immutable",
      "ETag": etag,
    };
    const early = earlyStatus(c.req, etag);
    if (early !== undefined) return c.body(null, early, headers);
    headers["Content-Type"] = OCTET_STREAM_TYPE;
    headers["Content-Length"] = String(blob.size);
    if (isHead) return c.body(null, 200, headers);
    const range = parseRange(honouredRange(c.req, etag), blob.size);
    if (range === "unsatisfiable") return c.body(null, 416, { "Content-Range": `bytes */${blob.size}` });
    const object = await requireBucket(c.env).get(blob.key, { range });
    if (!object) throw deletedBytes(digest);
    if (!range) return c.body(object.body, 200, headers);
    const { offset, length } = range;
    headers["Content-Length"] = String(length);
    headers["Content-Range"] = `bytes ${offset}-${offset + length - 1}/${blob.size}`;
    return c.body(object.body, 206, headers);
  });
}
