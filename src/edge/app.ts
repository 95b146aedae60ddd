/**
 * Builds the Hono application of the edge. It serves uploads, blobs, jobs and the registry of hosts itself, and passes all other requests
 * of the contract on to a GPU host. It runs wherever `fetch` exists; `worker.ts` connects it to the Workers runtime.
 */

import { OpenAPIHono } from "@hono/zod-openapi";
import { invalidParameters } from "../protocol/invalid_parameters.ts";
import { Refusal } from "../protocol/refusal.ts";
import { requestIdOf } from "../protocol/request_id.ts";
import { requireEdgeKey } from "./auth.ts";
import { blobRoutes } from "./blobs/routes.ts";
import type { EdgeApp, EdgeEnv } from "./edge_env.ts";
import { edgeHealthRoutes } from "./health.ts";
import { hostRoutes } from "./hosts/routes.ts";
import { jobRoutes } from "./jobs/routes.ts";
import { edgeOpenApiRoutes } from "./openapi.ts";
import { edgeLayerRoutes } from "./layers.ts";
import { passOn } from "./pass_on.ts";
import { edgeProblemResponse } from "./problems.ts";
import type { LayerHandler } from "./small_layers.ts";
import { uploadRoutes } from "./uploads/routes.ts";

/** Optional parts of the application. */
export interface EdgeParts {
  /** Solves small layers if `EDGE_SOLVE` is set. */
  readonly smallLayers?: LayerHandler;
}

/** Builds the application. */
export function createEdge({ smallLayers }: EdgeParts = {}): EdgeApp {
  const app = new OpenAPIHono<EdgeEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalidParameters(result.error);
    },
  });
  app.onError((error, c) => edgeProblemResponse(c, error));
  app.use(async (c, next) => {
    const id = requestIdOf(c.req.header("X-Request-Id"));
    c.set("requestId", id);
    await next();
    c.res.headers.set("X-Request-Id", id);
  });

  uploadRoutes(app);
  blobRoutes(app);
  jobRoutes(app);
  hostRoutes(app);
  edgeOpenApiRoutes(app);
  // The edge's own resources are never passed on, because a host does not have them.
  app.all("/v1/:own{uploads|blobs|jobs|hosts}/*", (c) => {
    throw new Refusal("not_found", `${c.req.method} ${c.req.path}: there is no such resource`);
  });

  edgeLayerRoutes(app, smallLayers);
  edgeHealthRoutes(app);
  app.use("/metrics", requireEdgeKey("metrics", "leave to host"));
  app.all("*", (c) => passOn(c));
  return app;
}
