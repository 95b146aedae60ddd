/** Builds the Hono application of a host from its services. The caller opens the device and the socket. */

import { OpenAPIHono } from "@hono/zod-openapi";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { distinctParameters, hostName, logRequests, requestId, securityHeaders } from "./middleware.ts";
import { blockRoutes } from "./blocks.ts";
import { docsRoutes } from "./docs.ts";
import { problemResponse } from "./errors.ts";
import { healthRoutes, metricsRoutes, openApiRoutes } from "./status.ts";
import { hessianRoutes } from "./hessians.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import { TASK_OWNER } from "../src/host/blocks/states.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { layerRoutes } from "./layers.ts";
import type { PageFiles } from "../src/pages/page_files.ts";
import { pageRoutes } from "./pages.ts";
import { corsOptions } from "../src/protocol/cors.ts";
import { shortened } from "../src/base/texts.ts";
import { runRoutes } from "./runs.ts";
import { taskRoutes } from "./tasks.ts";
import { Refusal, requireValid } from "../src/protocol/refusal.ts";

/** @param pageFiles the built files of the pages. Without them there is no playground */
export function createApp(services: HostServices, pageFiles?: PageFiles): HostApp {
  const { hostNames, corsOrigins } = services;
  const app = new OpenAPIHono<HostEnv>({ defaultHook: requireValid });
  app.onError((error, c) => problemResponse(c, error));
  app.notFound((c) =>
    problemResponse(c, new Refusal("not_found", `there is no resource ${shortened(c.req.path)}`))
  );

  app.use(requestId);
  app.use(logRequests(services));
  app.use(securityHeaders);
  app.use(hostName(hostNames));
  if (corsOrigins.length > 0) app.use(cors(corsOptions(corsOrigins)));
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const allowed = methods.join(", ");
      const response = problemResponse(
        c,
        new Refusal("method_not_allowed", `${shortened(c.req.path)} accepts ${allowed}`),
      );
      response.headers.set("Allow", allowed);
      return response;
    },
  }));
  for (const path of ["/v1/*", "/healthz", "/readyz", "/ping", "/metrics", "/openapi.json"]) {
    app.use(path, distinctParameters);
  }

  layerRoutes(app, services);
  hessianRoutes(app, services);
  blockRoutes(app, services);
  runRoutes(app, services);
  if (services.edge) {
    // The edge authorises a task by a ticket. The host then sends its tensors to this application, which needs no key.
    const keys = { current: [], owner: TASK_OWNER };
    const inner = createApp({ ...services, keys, corsOrigins: [], edge: undefined, runs: undefined });
    taskRoutes(app, services.edge, services, (request) => inner.fetch(request));
  }
  healthRoutes(app, services);
  metricsRoutes(app, services);
  openApiRoutes(app, services);
  pageRoutes(app, services, pageFiles);
  docsRoutes(app, services, pageFiles);
  return app;
}
