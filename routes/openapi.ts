/** `GET /openapi.json`: the HTTP contract as an OpenAPI document, generated from the schemas that check the requests. */

import { createRoute, z } from "@hono/zod-openapi";
import { documentOf, KEY_SCHEME } from "../src/protocol/resources/document.ts";
import { routeConfig } from "../src/protocol/resources/operation.ts";
import { OPENAPI } from "../src/protocol/resources/server.ts";
import { REPORT_DESCRIPTION, reportSchema } from "../src/protocol/resources/layers.ts";
import type { HostApp } from "./host_app.ts";

/** Adds the resource to the application. The document describes all resources that `app` has at the time of the request. */
export function openApiRoutes(app: HostApp): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", KEY_SCHEME);
  // The header `Pare-Report` refers to the schema by its name. The registry accepts only schemas that were made after the import of its
  // library, so the schema is made again.
  app.openAPIRegistry.register(
    "Report",
    z.object(reportSchema.shape).meta({ description: REPORT_DESCRIPTION }),
  );
  app.openapi(
    createRoute(routeConfig(OPENAPI)),
    (c) => c.json(app.getOpenAPI31Document(documentOf("host")), 200),
  );
}
