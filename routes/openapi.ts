/** `GET /openapi.json`: the HTTP contract as an OpenAPI document, generated from the schemas that check the requests. */

import { KEY_SCHEME } from "../src/protocol/openapi.ts";
import type { HostApp } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";

/** Adds the resource to the application. The document describes all resources that `app` has at the time of the request. */
export function openApiRoutes(app: HostApp, { version }: HostServices): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", KEY_SCHEME);
  app.get("/openapi.json", (c) =>
    c.json(app.getOpenAPI31Document({
      openapi: "3.1.0",
      info: {
        title: "Pare",
        version,
        description: "One-shot pruning of large language models, layer by layer.",
      },
    })));
}
