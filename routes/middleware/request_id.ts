/** Middleware that gives every request an id: the client's own if it is safe, else a new one. Every answer has it in `X-Request-Id`. */

import type { MiddlewareHandler } from "hono";
import { requestIdOf } from "../../src/protocol/request_id.ts";
import type { HostEnv } from "../host_env.ts";

/** Sets the request id. */
export const requestId: MiddlewareHandler<HostEnv> = async (c, next) => {
  const id = requestIdOf(c.req.header("X-Request-Id"));
  c.set("requestId", id);
  await next();
  c.res.headers.set("X-Request-Id", id);
};
