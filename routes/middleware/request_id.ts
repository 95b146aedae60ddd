/** Middleware: gives every request an id, the client's own where it is a sane one, and every answer `X-Request-Id`. */

import type { MiddlewareHandler } from "hono";
import { requestIdOf } from "../../src/protocol/request_id.ts";
import type { HostEnv } from "../host_env.ts";

export const requestId: MiddlewareHandler<HostEnv> = async (c, next) => {
  const id = requestIdOf(c.req.header("X-Request-Id"));
  c.set("requestId", id);
  await next();
  c.res.headers.set("X-Request-Id", id);
};
