/** The resources of a host. The edge forwards them, or serves them itself: probes, small layers, and the refusal of statistics. */

import { createRoute } from "@hono/zod-openapi";
import { type Operation, routeConfig } from "../protocol/resources/operation.ts";
import type { ProblemCode } from "../protocol/problem_codes.ts";
import {
  ADD_SUMS,
  BLOCK_STEPS,
  CREATE_STATES,
  DELETE_STATES,
  FIND_STATES,
} from "../protocol/resources/blocks.ts";
import { DELETE_HESSIAN, FIND_HESSIAN, HAS_HESSIAN, STORE_HESSIAN } from "../protocol/resources/hessians.ts";
import { PRUNE_LAYER } from "../protocol/resources/layers.ts";
import { HEALTHZ, METRICS, PING, READYZ } from "../protocol/resources/server.ts";
import { MAX_BLOCKSIZE } from "../protocol/limits.ts";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { invalidParameters, Refusal, requireDistinctParameters } from "../protocol/refusal.ts";
import { SCALAR_PATH } from "../pages/docs.tsx";
import { VERSION } from "../protocol/version.ts";
import { requireEdgeKey } from "./auth.ts";
import type { EdgeApp, EdgeBindings } from "./bindings.ts";
import { PROXY_PROBLEMS, proxyToHost } from "./proxy.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./settings.ts";
import type { LayerHandler } from "./small_layers.ts";

/**
 * The operations that the edge forwards to a host. No other request reaches a host, except for the probes, which may
 * describe the edge itself, and for the script of `/docs`.
 */
const FORWARDED: readonly Operation[] = [
  PRUNE_LAYER,
  FIND_HESSIAN,
  HAS_HESSIAN,
  STORE_HESSIAN,
  DELETE_HESSIAN,
  FIND_STATES,
  CREATE_STATES,
  DELETE_STATES,
  ADD_SUMS,
  ...Object.values(BLOCK_STEPS),
  METRICS,
  PING,
];

/**
 * Mounts the resources that the edge forwards to a host, each with the check of its key.
 * @param smallLayers handles layers if `EDGE_SOLVE` is set
 */
export function forwardedRoutes(app: EdgeApp, smallLayers: LayerHandler | undefined): void {
  for (const operation of FORWARDED) {
    const { method, scope } = operation, added: ProblemCode[] = [...PROXY_PROBLEMS];
    if (scope !== "public") added.push("busy");
    if (method !== "get" && method !== "head") added.push("length_required", "too_large");
    const route = createRoute(routeConfig(operation, added));
    app.openAPIRegistry.registerPath(route);
    // If the Worker may solve the layer, the check of the key cannot be left to a host.
    const isOwn = ({ EDGE_SOLVE }: EdgeBindings) =>
      operation === PRUNE_LAYER && smallLayers !== undefined && EDGE_SOLVE === "true";
    app.on(method, route.getRoutingPath(), requireEdgeKey(operation, isOwn), async (c) => {
      if (operation === STORE_HESSIAN) requireStore(c.env);
      if (operation !== PRUNE_LAYER) return await proxyToHost(c);
      // The query is checked here, so that no large body is sent to a host that will refuse it.
      requireDistinctParameters(new URL(c.req.url).searchParams);
      const query = layerQuerySchema.safeParse(c.req.query());
      if (!query.success) throw invalidParameters(query.error, c.req.query());
      return await (smallLayers && isOwn(c.env) ? smallLayers(c, query.data) : proxyToHost(c));
    });
  }
  app.get(SCALAR_PATH, (c) => proxyToHost(c));
}

/**
 * Checks that there is a host for statistics.
 * @throws {Refusal} `too_large`, as of a host whose store is too small. Clients then send the statistics with each layer
 */
function requireStore({ EDGE_HOST, EDGE_SOLVE }: EdgeBindings): void {
  if (EDGE_HOST || EDGE_SOLVE !== "true") return;
  throw new Refusal("too_large", "this edge stores no statistics, so send them with the layer", {
    members: { limit: 0 },
  });
}

/** Mounts `GET /healthz` and `/readyz`. They describe the host, or the Worker itself if there is no host. */
export function edgeHealthRoutes(app: EdgeApp): void {
  app.get("/healthz", async (c, next) => c.env.EDGE_HOST ? await proxyToHost(c) : await next());
  app.openapi(
    createRoute(routeConfig(HEALTHZ, PROXY_PROBLEMS)),
    (c) => c.json({ status: "up" as const }, 200),
  );

  app.get("/readyz", async (c, next) => {
    const isReadyItself = !c.env.EDGE_HOST && c.env.EDGE_SOLVE === "true";
    return isReadyItself ? await next() : await proxyToHost(c);
  });
  app.openapi(createRoute(routeConfig(READYZ, PROXY_PROBLEMS)), (c) =>
    c.json({
      status: "ready" as const,
      version: VERSION,
      backend: "cpu",
      adapter: { name: "WebAssembly SIMD, on the calling thread", software: false },
      limits: {
        max_body_bytes: MAX_SMALL_BYTES,
        max_features: MAX_SMALL_FEATURES,
        max_blocksize: MAX_BLOCKSIZE,
        max_buffer_bytes: MAX_SMALL_BYTES,
      },
      self_check: null,
      queue: { waiting: 0, resident: 0 },
    }, 200));
}
