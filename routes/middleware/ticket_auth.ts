/** Middleware that checks the tickets by which an edge authenticates its requests to a host. */

import type { MiddlewareHandler } from "hono";
import { NonceMemory, verifyTicket } from "../../src/protocol/edge/tickets.ts";
import type { HostEnv } from "../host_app.ts";

/**
 * Returns middleware that answers 401 unless the request has a valid ticket. It reads the whole body, because a ticket is bound to its body.
 * @param audience the id of this host
 * @param now returns milliseconds since 1970
 */
export function requireTicket(
  secret: string,
  audience: string,
  now: () => number,
): MiddlewareHandler<HostEnv> {
  const nonces = new NonceMemory();
  return async (c, next) => {
    const body = new Uint8Array(await c.req.arrayBuffer());
    const subject = { audience, method: c.req.method, path: c.req.path, body };
    await verifyTicket(secret, c.req.header("Authorization"), subject, now(), nonces);
    await next();
  };
}
