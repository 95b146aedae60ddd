/** `GET /openapi.json`: the contract, generated from the schemas that enforce it. */

import type { HostApp } from "./host_app.ts";
import type { Services } from "./host_env.ts";

/** Mounts the resource. It describes everything that is mounted on `app` when it is requested. */
export function openApiRoutes(app: HostApp, { version }: Services): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", { type: "http", scheme: "bearer" });
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
