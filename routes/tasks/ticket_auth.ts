/** Middleware: lets through who has a ticket of the edge for this very request. */

import type { MiddlewareHandler } from "hono";
import { Refusal } from "../../src/protocol/refusal.ts";
import { NonceMemory, TicketError, verifyTicket } from "../../src/protocol/tickets.ts";
import type { HostEnv } from "../host_env.ts";

/** The body is read whole before the ticket is known to hold; signed URLs are below 2 KiB each. */
const MAX_TASK_BYTES = 64 * 2 ** 10;

/** Requires a ticket for the host `audience`. 401: none that holds. 411, 413: a body of unknown or too large a size. */
export function requireTicket(
  secret: string,
  audience: string,
  now: () => number,
): MiddlewareHandler<HostEnv> {
  const nonces = new NonceMemory();
  return async (c, next) => {
    if (c.req.raw.body) {
      const length = Number(c.req.header("Content-Length") ?? NaN);
      if (!Number.isSafeInteger(length)) {
        throw new Refusal("length_required", "a task needs a Content-Length");
      }
      if (length > MAX_TASK_BYTES) {
        throw new Refusal("too_large", `a task of ${length} bytes is over the limit of ${MAX_TASK_BYTES}`, {
          members: { limit: MAX_TASK_BYTES },
        });
      }
    }
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
