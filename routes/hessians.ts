/** `/v1/hessians/sha256:HEX`: stores statistics (Hessians) that several layers share, so that clients send them only once. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { DEFAULT_BLOCKSIZE } from "../src/protocol/limits.ts";
import { digestSchema } from "../src/protocol/digest.ts";
import { tileEdgeFor } from "../src/linalg/blocking.ts";
import type { DeviceSession } from "../src/host/device.ts";
import { HessianNotFoundError } from "../src/host/factor_store.ts";
import { storeHessian } from "../src/host/store_hessian.ts";
import { type RequestBody, requestBody } from "./body.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { problemResponses } from "../src/protocol/openapi.ts";
import { BODY_PROBLEM_CODES, SAFETENSORS_BODY } from "./responses.ts";

const PATH = "/v1/hessians/{digest}";
const security = [{ key: [] }];
const params = z.object({ digest: digestSchema });
const storedSchema = z.object({
  digest: digestSchema,
  order: z.int().meta({
    description: "The number of inputs (in_features) of the layers that use these statistics",
  }),
}).meta({ id: "StoredHessian" });
const json = { "application/json": { schema: storedSchema } };
/** The codes with which a request about stored statistics can be refused. */
const LOOKUP_PROBLEM_CODES = [
  "invalid_parameter",
  "unauthorized",
  "forbidden",
  "hessian_not_found",
  "no_device",
] as const;

const find = createRoute({
  method: "get",
  path: PATH,
  summary: "Find stored statistics (HEAD works too)",
  security,
  request: { params },
  responses: {
    200: { description: "The statistics are stored", content: json },
    ...problemResponses(LOOKUP_PROBLEM_CODES),
  },
});

const store = createRoute({
  method: "put",
  path: PATH,
  summary: "Store statistics",
  description: "The body has the tensor `hessian` or `hessian_upper`. The digest is the sha-256 of the body.",
  security,
  request: { params, body: SAFETENSORS_BODY },
  responses: {
    200: { description: "The statistics were stored already", content: json },
    201: { description: "The statistics are stored now", content: json },
    ...problemResponses([...BODY_PROBLEM_CODES, "digest_mismatch"]),
  },
});

const remove = createRoute({
  method: "delete",
  path: PATH,
  summary: "Delete statistics",
  security,
  request: { params },
  responses: {
    204: { description: "The statistics are deleted" },
    ...problemResponses(LOOKUP_PROBLEM_CODES),
  },
});

/** Adds the resource to the application. */
export function hessianRoutes(app: HostApp, services: HostServices): void {
  const { device, limits } = services;

  app.openapi(find, (c) => {
    const { digest } = c.req.valid("param");
    const order = device.session().store.order(digest);
    if (order === undefined) throw new HessianNotFoundError(digest);
    return c.json({ digest, order }, 200);
  });

  app.openapi(store, async (c) => {
    const { digest } = c.req.valid("param");
    const body = requestBody(c, limits);
    const session = device.session();
    try {
      const edge = tileEdgeFor(DEFAULT_BLOCKSIZE, limits.tileEdge);
      const { order, added } = await receiveStatistics(c, session, digest, body, edge);
      return c.json({ digest, order }, added ? 201 : 200);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });

  app.openapi(remove, (c) => {
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
