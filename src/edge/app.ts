/**
 * The edge's application: what it does itself (uploads, blobs, jobs, the registry of hosts), and everything else of the
 * contract passed on to a GPU host. It runs wherever `fetch` does; `worker.ts` gives it to the Workers runtime.
 */

import { OpenAPIHono } from "@hono/zod-openapi";
import { invalidParameters } from "../protocol/invalid_parameters.ts";
import { Refusal } from "../protocol/refusal.ts";
import { requestIdOf } from "../protocol/request_id.ts";
import { requireKey } from "./auth.ts";
import { blobRoutes } from "./blobs/routes.ts";
import type { EdgeApp, EdgeEnv } from "./edge_env.ts";
import { healthRoutes } from "./health.ts";
import { hostRoutes } from "./hosts/routes.ts";
import { jobRoutes } from "./jobs/routes.ts";
import { openApiRoutes } from "./openapi.ts";
import { layerRoutes } from "./layers.ts";
import { passOn } from "./pass_on.ts";
import { problemResponse } from "./problems.ts";
import type { LayerHandler } from "./small_layers.ts";
import { uploadRoutes } from "./uploads/routes.ts";

/** Parts that a runtime may lack. */
export interface EdgeParts {
  /** Solves small layers where `EDGE_SOLVE` is set. */
  readonly smallLayers?: LayerHandler;
}

/** Builds the application. */
export function createEdge({ smallLayers }: EdgeParts = {}): EdgeApp {
  const app = new OpenAPIHono<EdgeEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalidParameters(result.error);
    },
  });
  app.onError((error, c) => problemResponse(c, error));
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
  openApiRoutes(app);
  // What is the edge's own goes no further: a host knows none of it.
  app.all("/v1/:own{uploads|blobs|jobs|hosts}/*", (c) => {
    throw new Refusal("not_found", `${c.req.method} ${c.req.path}: nothing takes that`);
  });

  layerRoutes(app, smallLayers);
  healthRoutes(app);
  app.use("/metrics", requireKey("metrics", "host judges"));
  app.all("*", (c) => passOn(c));
  return app;
}
