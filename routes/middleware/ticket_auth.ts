/** Middleware that checks the tickets of an edge. */

import type { MiddlewareHandler } from "hono";
import { NonceMemory, verifyTicket } from "../../src/protocol/tickets.ts";
import type { HostEnv } from "../host_env.ts";

/**
 * Rejects a request that has no valid ticket for the host `audience` with 401. The whole body is read first, because the ticket is bound
 * to it.
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
