/** Middleware that gives every request an id, and adds the id to the answer. The id of the client is used if it is safe, else a new one. */

import type { MiddlewareHandler } from "hono";
import { REQUEST_ID_HEADER, requestIdOf } from "../../src/protocol/request_id.ts";
import type { HostEnv } from "../host_app.ts";

/** Sets the variable `requestId`, and the header `X-Request-Id` of the answer. */
export const requestId: MiddlewareHandler<HostEnv> = async (c, next) => {
  const id = requestIdOf(c.req.header(REQUEST_ID_HEADER));
  c.set("requestId", id);
  await next();
  c.res.headers.set(REQUEST_ID_HEADER, id);
};
