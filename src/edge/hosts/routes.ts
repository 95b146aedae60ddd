/** The routes of `/v1/hosts`. Hosts register themselves here with tickets, and operators list the hosts. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { heartbeatSchema, LIST_HOSTS } from "../../protocol/resources/hosts.ts";
import { idSchema } from "../../protocol/resources/fields.ts";
import { json } from "../../protocol/resources/operation.ts";
import { EDGE_AUDIENCE, verifyTicket } from "../../protocol/tickets.ts";
import { guardedRoute } from "../auth.ts";
import { limitBody } from "../requests/body_length.ts";
import { cacheBody } from "../requests/read_body.ts";
import type { EdgeApp, EdgeEnv } from "../bindings.ts";
import { findRegistry, requireHostSecret } from "../settings.ts";

const PATH = "/v1/hosts/{id}";
const params = z.object({ id: idSchema });

/** The largest heartbeat in bytes. A heartbeat has up to 256 digests and a few names. */
const MAX_HEARTBEAT_BYTES = 64 * 2 ** 10;

// The OpenAPI document leaves both routes out, because only hosts can use them.
const heartbeat = createRoute({
  method: "put",
  path: PATH,
  hide: true,
  request: { params, body: { required: true, content: json(heartbeatSchema) } },
  responses: { 204: { description: "The host is registered" } },
});

const deregister = createRoute({
  method: "delete",
  path: PATH,
  hide: true,
  request: { params },
  responses: { 204: { description: "The host is no longer registered" } },
});

export function hostRoutes(app: EdgeApp): void {
  app.on(["PUT", "DELETE"], "/v1/hosts/:id", async (c, next) => {
    await checkTicket(c);
    await next();
  });

  app.openapi(heartbeat, async (c) => {
    await findRegistry(c.env).recordHeartbeat(c.req.valid("param").id, c.req.valid("json"));
    return c.body(null, 204);
  });
  app.openapi(deregister, async (c) => {
    await findRegistry(c.env).deregister(c.req.valid("param").id);
    return c.body(null, 204);
  });
  app.openapi(
    guardedRoute(LIST_HOSTS),
    async (c) => c.json({ hosts: await findRegistry(c.env).usableHosts() }, 200),
  );
}

/** Checks a host's ticket. @throws {Refusal} `unauthorized`, `length_required`, `too_large`, `unsupported` */
async function checkTicket(c: Context<EdgeEnv>): Promise<void> {
  const secret = requireHostSecret(c.env);
  const length = limitBody(c, MAX_HEARTBEAT_BYTES, "the state of a host");
  const body = await cacheBody(c, length);
  const subject = { audience: EDGE_AUDIENCE, method: c.req.method, path: c.req.path, body };
  await verifyTicket(secret, c.req.header("Authorization"), subject, Date.now(), findRegistry(c.env));
}
