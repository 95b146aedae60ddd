/** `HEAD` and `GET /v1/blobs/sha256:HEX`: bytes by their digest. How they come to be there is `uploads/`'s, and that of jobs. */

import { createRoute, z } from "@hono/zod-openapi";
import { digestSchema } from "../../protocol/digest.ts";
import { OCTET_STREAM_TYPE } from "../../protocol/media_type.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { requireKey } from "../auth.ts";
import type { EdgeApp } from "../edge_env.ts";
import { problemResponses } from "../../protocol/problem_responses.ts";
import { parseRange } from "./range.ts";
import { bucketOf, findBlob, findLastingBlob } from "./store.ts";

const route = createRoute({
  method: "get",
  path: "/v1/blobs/{digest}",
  summary: "Read a blob",
  description:
    "The bytes, once their digest is verified. `HEAD` asks whether they are there, and will be for a day. One `Range` of bytes is honoured.",
  security: [{ key: [] }],
  request: { params: z.object({ digest: digestSchema }) },
  responses: {
    200: {
      description: "The bytes",
      content: { [OCTET_STREAM_TYPE]: { schema: { type: "string", format: "binary" } } },
    },
    206: {
      description: "The range asked for",
      content: { [OCTET_STREAM_TYPE]: { schema: { type: "string", format: "binary" } } },
    },
    416: { description: "The range is outside the blob; Content-Range tells its size" },
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
  app.use("/v1/blobs/*", requireKey("read"));
  app.openapi(route, async (c) => {
    const { digest } = c.req.valid("param");
    const asks = c.req.method === "HEAD";
    const blob = await (asks ? findLastingBlob : findBlob)(c.env, digest);
    if (!blob) throw new Refusal("not_found", `no blob has digest ${digest}`);
    const headers: Record<string, string> = {
      "Accept-Ranges": "bytes",
      "Cache-Control": "private, max-age=86400, immutable",
      "Content-Length": String(blob.size),
      "Content-Type": OCTET_STREAM_TYPE,
      "ETag": `"${digest}"`,
    };
    if (asks) return c.body(null, 200, headers);
    const range = parseRange(c.req.header("Range"), blob.size);
    if (range === "unsatisfiable") return c.body(null, 416, { "Content-Range": `bytes */${blob.size}` });
    const object = await bucketOf(c.env).get(blob.key, { range });
    if (!object) throw new Refusal("not_found", `the bytes of ${digest} are no longer kept`);
    if (!range) return c.body(object.body, 200, headers);
    const { offset, length } = range;
    headers["Content-Length"] = String(length);
    headers["Content-Range"] = `bytes ${offset}-${offset + length - 1}/${blob.size}`;
    return c.body(object.body, 206, headers);
  });
}
