/** `/v1/hessians/sha256:HEX`: stores statistics that several layers share, so that clients send them only once. */

import { DEFAULT_BLOCKSIZE } from "../src/protocol/limits.ts";
import { tileEdgeFor, tileEdgeOn } from "../src/device/tiled_matrix.ts";
import { hessianNotFound, storeHessian } from "../src/host/factor_store.ts";
import { requestBody } from "./body.ts";
import type { HostApp } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";
import type { HostServices } from "../src/host/host_services.ts";
import {
  DELETE_HESSIAN,
  FIND_HESSIAN,
  HAS_HESSIAN,
  STORE_HESSIAN,
} from "../src/protocol/resources/hessians.ts";
import { routeConfig } from "../src/protocol/resources/operation.ts";

export function hessianRoutes(app: HostApp, services: HostServices): void {
  const { device, keys, limits } = services;

  app.openapi(guardedRoute(FIND_HESSIAN, keys), (c) => {
    const { digest } = c.req.valid("param");
    const order = device.session().store.order(digest);
    if (order === undefined) throw hessianNotFound(digest);
    return c.json({ digest, order }, 200);
  });

  // Hono answers HEAD with the handler of GET.
  app.openAPIRegistry.registerPath(routeConfig(HAS_HESSIAN));

  app.openapi(guardedRoute(STORE_HESSIAN, keys), async (c) => {
    const { digest } = c.req.valid("param"), { source, totalBytes } = requestBody(c, services);
    const session = device.session(), { backend, store } = session;
    const edge = tileEdgeFor(DEFAULT_BLOCKSIZE, limits.tileEdge ?? tileEdgeOn(backend));
    const { order, added } = await device.withPlace(
      session,
      () => storeHessian(backend, store, digest, source, { totalBytes, edge }),
      c.req.raw.signal,
    );
    return added ? c.json({ digest, order }, 201) : c.json({ digest, order }, 200);
  });

  app.openapi(guardedRoute(DELETE_HESSIAN, keys), (c) => {
    device.session().store.delete(c.req.valid("param").digest);
    return c.body(null, 204);
  });
}
