/** Middleware: lets through who has a ticket of the edge for this very request. */

import type { MiddlewareHandler } from "hono";
import { Refusal } from "../../src/protocol/refusal.ts";
import { NonceMemory, TicketError, verifyTicket } from "../../src/protocol/tickets.ts";
import type { HostEnv } from "../host_env.ts";

/** Requires a ticket for the host `audience`. 401: none that holds. The body is read whole before that is known. */
export function requireTicket(
  secret: string,
  audience: string,
  now: () => number,
): MiddlewareHandler<HostEnv> {
  const nonces = new NonceMemory();
  return async (c, next) => {
    const body = new Uint8Array(await c.req.arrayBuffer());
    const subject = { audience, method: c.req.method, path: c.req.path, body };
    try {
      await verifyTicket(secret, c.req.header("Authorization"), subject, now(), nonces);
    } catch (error) {
      if (error instanceof TicketError) throw new Refusal("unauthorized", error.message);
      throw error;
    }
    await next();
  };
}
