/** The resources of a host that the Worker can serve itself: probes, small layers, and the refusal of statistics. */

import { createRoute } from "@hono/zod-openapi";
import { routeConfig } from "../protocol/resources/operation.ts";
import { HEALTHZ, READYZ } from "../protocol/resources/server.ts";
import { MAX_BLOCKSIZE } from "../protocol/limits.ts";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { invalidParameters, Refusal, requireDistinctParameters } from "../protocol/refusal.ts";
import { VERSION } from "../protocol/version.ts";
import { requireEdgeKey } from "./auth.ts";
import type { EdgeApp } from "./bindings.ts";
import { PROXY_PROBLEMS, proxyToHost } from "./proxy.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./settings.ts";
import type { LayerHandler } from "./small_layers.ts";

/** Mounts `POST /v1/layers` and `PUT /v1/hessians/:digest`. `smallLayers` handles layers if `EDGE_SOLVE` is set. */
export function edgeLayerRoutes(app: EdgeApp, smallLayers: LayerHandler | undefined): void {
  app.use("/v1/layers", (c, next) => {
    // If the Worker may solve the layer, the check of the key cannot be left to a host.
    const solvesHere = smallLayers && c.env.EDGE_SOLVE === "true";
    return requireEdgeKey("solve", solvesHere ? "refuse" : "leave to host")(c, next);
  });
  app.post("/v1/layers", async (c) => {
    // The query is checked here, so that no large body is sent to a host that will refuse it.
    requireDistinctParameters(new URL(c.req.url).searchParams);
    const query = layerQuerySchema.safeParse(c.req.query());
    if (!query.success) throw invalidParameters(query.error, c.req.query());
    return await (smallLayers && c.env.EDGE_SOLVE === "true" ? smallLayers(c, query.data) : proxyToHost(c));
  });

  app.use("/v1/hessians/*", requireEdgeKey("hessians", "leave to host"));
  app.put("/v1/hessians/*", async (c) => {
    if (c.env.EDGE_HOST || c.env.EDGE_SOLVE !== "true") return await proxyToHost(c);
    // A host whose store is too small answers with the same code. Clients then send the statistics with each layer.
    throw new Refusal("too_large", "this edge stores no statistics, so send them with the layer", {
      members: { limit: 0 },
    });
  });
}

/** Mounts `GET /healthz` and `/readyz`. They describe the host, or the Worker itself if there is no host. */
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
