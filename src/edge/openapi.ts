/** `GET /openapi.json` at the edge. The document is generated from the schemas that validate the requests. */

import { createRoute } from "@hono/zod-openapi";
import { documentOf, KEY_SCHEME } from "../protocol/resources/document.ts";
import { DELETE_HESSIAN, FIND_HESSIAN, HAS_HESSIAN, STORE_HESSIAN } from "../protocol/resources/hessians.ts";
import { PRUNE_LAYER } from "../protocol/resources/layers.ts";
import { type Operation, routeConfig } from "../protocol/resources/operation.ts";
import { METRICS, OPENAPI } from "../protocol/resources/server.ts";
import type { ProblemCode } from "../protocol/problem_codes.ts";
import type { EdgeApp, EdgeBindings } from "./bindings.ts";
import { PROXY_PROBLEMS } from "./proxy.ts";

/** The problems that the edge adds to a forwarded operation with an API key, whose requests are limited. */
const KEYED_PROBLEMS: readonly ProblemCode[] = [...PROXY_PROBLEMS, "busy"];

/** The problems that the edge adds if the request may also have a body. */
const BODY_PROBLEMS: readonly ProblemCode[] = [...KEYED_PROBLEMS, "length_required", "too_large"];

/** The operations that the edge forwards to a host, each with the problems that the edge adds. */
const FORWARDED: readonly (readonly [Operation, readonly ProblemCode[]])[] = [
  [PRUNE_LAYER, BODY_PROBLEMS],
  [FIND_HESSIAN, KEYED_PROBLEMS],
  [HAS_HESSIAN, KEYED_PROBLEMS],
  [STORE_HESSIAN, BODY_PROBLEMS],
  [DELETE_HESSIAN, BODY_PROBLEMS],
  [METRICS, KEYED_PROBLEMS],
];

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
  for (const [operation, problems] of FORWARDED) {
    app.openAPIRegistry.registerPath(routeConfig(operation, problems));
  }
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
