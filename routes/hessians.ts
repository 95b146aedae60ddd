/** `/v1/hessians/sha256:HEX`: stores statistics that several layers share, so that clients send them only once. */

import type { Context } from "hono";
import { DEFAULT_BLOCKSIZE } from "../src/protocol/limits.ts";
import { tileEdgeFor, tileEdgeOn } from "../src/device/tiled_matrix.ts";
import type { DeviceSession } from "../src/host/device.ts";
import { HessianNotFoundError, storeHessian } from "../src/host/factor_store.ts";
import { type RequestBody, requestBody } from "./body.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
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
    if (order === undefined) throw new HessianNotFoundError(digest);
    return c.json({ digest, order }, 200);
  });

  // Hono answers HEAD by the handler of GET.
  app.openAPIRegistry.registerPath(routeConfig(HAS_HESSIAN));

  app.openapi(guardedRoute(STORE_HESSIAN, keys), async (c) => {
    const { digest } = c.req.valid("param");
    const body = requestBody(c, services);
    const session = device.session();
    try {
      const edge = tileEdgeFor(DEFAULT_BLOCKSIZE, limits.tileEdge ?? tileEdgeOn(session.backend));
      const { order, added } = await receiveStatistics(c, session, digest, body, edge);
      return added ? c.json({ digest, order }, 201) : c.json({ digest, order }, 200);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });

  app.openapi(guardedRoute(DELETE_HESSIAN, keys), (c) => {
    device.session().store.delete(c.req.valid("param").digest);
    return c.body(null, 204);
  });
}

/**
 * Reads the body into the store. Meanwhile the request holds a place on the device, as a request for a layer does.
 * @param edge the tile edge of the stored matrix, in elements
 */
async function receiveStatistics(
  c: Context<HostEnv>,
  { backend, store, residentQueue }: DeviceSession,
  digest: string,
  { source, totalBytes }: RequestBody,
  edge: number,
): Promise<{ order: number; added: boolean }> {
  return await residentQueue.run(
    () => storeHessian(backend, store, digest, source, { totalBytes, edge }),
    c.req.raw.signal,
  );
}
