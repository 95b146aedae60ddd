/**
 * `GET /healthz` and `/readyz` at the edge. An edge with a host forwards both requests. An edge without a host describes the Worker itself,
 * which may be able to solve small layers.
 */

import { createRoute } from "@hono/zod-openapi";
import { routeConfig } from "../protocol/resources/operation.ts";
import { HEALTHZ, READYZ } from "../protocol/resources/server.ts";
import { MAX_BLOCKSIZE } from "../protocol/limits.ts";
import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./bindings.ts";
import { PROXY_PROBLEMS, proxyToHost } from "./proxy.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./small_limits.ts";

/** Mounts both resources. */
export function edgeHealthRoutes(app: EdgeApp): void {
  app.get("/healthz", async (c, next) => c.env.EDGE_HOST ? await proxyToHost(c) : await next());
  app.openapi(
    createRoute(routeConfig(HEALTHZ, PROXY_PROBLEMS)),
    (c) => c.json({ status: "up" as const }, 200),
  );

  app.get("/readyz", async (c, next) => {
    const isReadyItself = !c.env.EDGE_HOST && c.env.EDGE_SOLVE === "true";
    return isReadyItself ? await next() : await proxyToHost(c);
  });
  app.openapi(createRoute(routeConfig(READYZ, PROXY_PROBLEMS)), (c) =>
    c.json({
      status: "ready" as const,
      version: VERSION,
      backend: "cpu",
      adapter: { name: "WebAssembly SIMD, on the calling thread", software: false },
      limits: {
        max_body_bytes: MAX_SMALL_BYTES,
        max_features: MAX_SMALL_FEATURES,
        max_blocksize: MAX_BLOCKSIZE,
        max_buffer_bytes: MAX_SMALL_BYTES,
      },
      self_check: null,
      queue: { waiting: 0, resident: 0 },
    }, 200));
}
