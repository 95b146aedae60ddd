/** `GET /openapi.json` at the edge. The document is generated from the schemas that validate the requests. */

import { createRoute } from "@hono/zod-openapi";
import { documentOf, KEY_SCHEME } from "../protocol/resources/document.ts";
import { routeConfig } from "../protocol/resources/operation.ts";
import { OPENAPI } from "../protocol/resources/server.ts";
import type { EdgeApp, EdgeBindings } from "./bindings.ts";

/** The bindings that the operations with each tag need. */
const BINDINGS_OF_TAG: Readonly<Record<string, readonly (keyof EdgeBindings)[]>> = {
  Blobs: ["BLOBS"],
  Uploads: ["BLOBS"],
  Jobs: ["JOBS", "JOB_RECORDS", "JOB_INDEXES"],
  Hosts: ["HOSTS"],
};

/** Mounts the resource. It describes everything that is mounted on `app` when it is requested. */
export function edgeOpenApiRoutes(app: EdgeApp): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", KEY_SCHEME);
  app.openapi(
    createRoute(routeConfig(OPENAPI)),
    (c) => c.json(withoutUnbound(edgeDocument(app), c.env), 200),
  );
}

/** Returns the document of an edge with all bindings. */
export function edgeDocument(app: EdgeApp) {
  return app.getOpenAPI31Document(documentOf("edge"));
}

/** Leaves out the operations for which the deployment lacks a binding, because it would refuse them. */
function withoutUnbound(document: ReturnType<typeof edgeDocument>, env: EdgeBindings) {
  const isBound = (tag: string) => (BINDINGS_OF_TAG[tag] ?? []).every((name) => env[name] !== undefined);
  const isOffered = ([, { tags = [] }]: [string, { tags?: string[] }]) => tags.every(isBound);
  const paths = Object.entries(document.paths ?? {}).map(([path, item]) =>
    [path, Object.fromEntries(Object.entries(item).filter(isOffered))] as const
  );
  return { ...document, paths: Object.fromEntries(paths.filter(([, item]) => Object.keys(item).length > 0)) };
}
