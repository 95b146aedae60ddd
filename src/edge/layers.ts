/**
 * `POST /v1/layers` and `PUT /v1/hessians/:digest` at the edge. Both requests are forwarded to the host, except that the Worker may solve
 * small layers itself.
 */

import { invalidParameters, Refusal, requireNamedParameters } from "../protocol/refusal.ts";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { requireEdgeKey } from "./auth.ts";
import type { EdgeApp } from "./bindings.ts";
import { proxyToHost } from "./proxy.ts";
import type { LayerHandler } from "./small_layers.ts";

/** Mounts both resources. `smallLayers` handles layers if `EDGE_SOLVE` is set. */
export function edgeLayerRoutes(app: EdgeApp, smallLayers: LayerHandler | undefined): void {
  app.use("/v1/layers", (c, next) => {
    // If the Worker may solve the layer, the check of the key cannot be left to a host.
    const solvesHere = smallLayers && c.env.EDGE_SOLVE === "true";
    return requireEdgeKey("solve", solvesHere ? "refuse" : "leave to host")(c, next);
  });
  app.post("/v1/layers", async (c) => {
    // The query is checked here, so that no large body is sent to a host that will refuse it.
    requireNamedParameters(new URL(c.req.url).searchParams);
    const query = layerQuerySchema.safeParse(c.req.query());
    if (!query.success) throw invalidParameters(query.error);
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
