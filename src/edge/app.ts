/** Builds the Hono application of the edge, which runs wherever `fetch` exists, as in the Worker (`worker.ts`). */

import { OpenAPIHono } from "@hono/zod-openapi";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { corsOptions, parseOrigins } from "../protocol/cors.ts";
import { Refusal, requireValid } from "../protocol/refusal.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../protocol/headers.ts";
import { shortened } from "../base/texts.ts";
import { requireOpenEdgeName } from "./auth.ts";
import { blobRoutes } from "./blobs/routes.ts";
import type { EdgeApp, EdgeEnv } from "./bindings.ts";
import { edgeHealthRoutes, forwardedRoutes } from "./host_resources.ts";
import { hostRoutes } from "./hosts/routes.ts";
import { jobRoutes } from "./jobs/routes.ts";
import { edgeOpenApiRoutes } from "./openapi.ts";
import { edgeProblemResponse } from "./problems.ts";
import type { PageFiles } from "../pages/page_files.ts";
import { addSecurityHeaders } from "../pages/page_headers.ts";
import { edgePageRoutes } from "./pages.ts";
import type { LayerHandler } from "./small_layers.ts";
import { uploadRoutes } from "./uploads/routes.ts";

export interface EdgeParts {
  /** Handles `POST /v1/layers` if `EDGE_SOLVE` is "true". In all other cases, layers are forwarded to a GPU host. */
  readonly smallLayers?: LayerHandler;
  /** The built files of the pages. Without them there are no pages but `/`. */
  readonly pageFiles?: PageFiles;
}

export function createEdge({ smallLayers, pageFiles }: EdgeParts = {}): EdgeApp {
  const app = new OpenAPIHono<EdgeEnv>({ defaultHook: requireValid });
  app.onError((error, c) => edgeProblemResponse(c, error));
  app.notFound((c) => {
    const refusal = new Refusal("not_found", `${shortened(c.req.path)}: there is no such resource`);
    return edgeProblemResponse(c, refusal);
  });
  app.use(async (c, next) => {
    const id = requestIdOf(c.req.header(REQUEST_ID_HEADER));
    c.set("requestId", id);
    await next();
    c.res.headers.set(REQUEST_ID_HEADER, id);
    addSecurityHeaders(c.res.headers);
  });
  app.use(requireOpenEdgeName);
  app.use(async (c, next) => {
    const origins = parseOrigins(c.env.PARE_CORS_ORIGINS ?? "");
    return await (origins.length > 0 ? cors(corsOptions(origins))(c, next) : next());
  });
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const allowed = methods.toSorted().join(", ");
      const response = edgeProblemResponse(
        c,
        new Refusal("method_not_allowed", `this path accepts ${allowed}`),
      );
      response.headers.set("Allow", allowed);
      return response;
    },
  }));

  uploadRoutes(app);
  blobRoutes(app);
  jobRoutes(app);
  hostRoutes(app);
  edgeOpenApiRoutes(app);
  forwardedRoutes(app, smallLayers);
  edgeHealthRoutes(app);
  edgePageRoutes(app, pageFiles);
  return app;
}
