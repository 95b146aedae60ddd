/**
 * `HEAD` and `GET /v1/blobs/sha256:HEX` read blobs. A blob is a sequence of bytes that is stored under its
 * sha-256. Uploads and jobs create blobs.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { digestSchema } from "../../protocol/digest.ts";
import { OCTET_STREAM_TYPE } from "../../protocol/headers.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { requireEdgeKey } from "../auth.ts";
import type { EdgeApp } from "../edge_env.ts";
import { problemResponses } from "../../protocol/openapi.ts";
import { parseRange } from "./range.ts";
import { findBlob, findFreshBlob, requireBucket } from "./store.ts";

const route = createRoute({
  method: "get",
  path: "/v1/blobs/{digest}",
  summary: "Read a blob",
  description:
    "Answers with the bytes, which were verified to have this digest. `HEAD` asks whether the blob is stored and will stay for at least a day. One `Range` of bytes is supported.",
  security: [{ key: [] }],
  request: { params: z.object({ digest: digestSchema }) },
  responses: {
    200: {
      description: "The bytes",
      content: { [OCTET_STREAM_TYPE]: { schema: { type: "string", format: "binary" } } },
    },
    206: {
      description: "The requested range",
      content: { [OCTET_STREAM_TYPE]: { schema: { type: "string", format: "binary" } } },
    },
    416: { description: "The range is outside the blob. Content-Range has the size of the blob" },
    ...problemResponses([
      "invalid_parameter",
      "unauthorized",
      "forbidden",
      "not_found",
      "unsupported",
      "busy",
    ]),
  },
});

/** Mounts the resource. */
export function blobRoutes(app: EdgeApp): void {
  app.use("/v1/blobs/*", requireEdgeKey("read"));
  app.openapi(route, async (c) => {
    const { digest } = c.req.valid("param");
    const isHead = c.req.method === "HEAD";
    const blob = await (isHead ? findFreshBlob : findBlob)(c.env, digest);
    if (!blob) throw new Refusal("not_found", `no blob has digest ${digest}`);
    const headers: Record<string, string> = {
      "Accept-Ranges": "bytes",
      "Cache-Control": "private, max-age=86400, immutable",
      "Content-Length": String(blob.size),
      "Content-Type": OCTET_STREAM_TYPE,
      "ETag": `"${digest}"`,
    };
    if (isHead) return c.body(null, 200, headers);
    const range = parseRange(c.req.header("Range"), blob.size);
    if (range === "unsatisfiable") return c.body(null, 416, { "Content-Range": `bytes */${blob.size}` });
    const object = await requireBucket(c.env).get(blob.key, { range });
    if (!object) throw new Refusal("not_found", `the bytes of ${digest} were deleted`);
    if (!range) return c.body(object.body, 200, headers);
    const { offset, length } = range;
    headers["Content-Length"] = String(length);
    headers["Content-Range"] = `bytes ${offset}-${offset + length - 1}/${blob.size}`;
    return c.body(object.body, 206, headers);
  });
}
