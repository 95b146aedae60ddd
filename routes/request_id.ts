/** Middleware: gives every request an id, the client's own where it is a sane one, and every answer `X-Request-Id`. */

import type { MiddlewareHandler } from "hono";
import type { HostEnv } from "./host_env.ts";

/** What may be taken over into logs and headers. */
const SANE = /^[A-Za-z0-9._:-]{1,64}$/;

export const requestId: MiddlewareHandler<HostEnv> = async (c, next) => {
  const given = c.req.header("X-Request-Id");
  const id = given !== undefined && SANE.test(given) ? given : crypto.randomUUID();
  c.set("requestId", id);
  await next();
  c.res.headers.set("X-Request-Id", id);
};
