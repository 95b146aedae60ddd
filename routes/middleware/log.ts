/** Middleware that writes one log entry per request and updates the metrics, as soon as the headers of the answer are ready. */

import type { MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import { stackOf } from "../../src/text/message_of.ts";
import type { HostServices } from "../../src/host/host_services.ts";
import type { HostEnv } from "../host_app.ts";

/** Returns middleware that logs and counts every request. */
export function logRequests({ log, clock, metrics }: HostServices): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    const start = clock();
    await next();
    const route = c.res.status === 404 && c.get("problem") === "not_found" ? "none" : routePath(c, -1);
    const bytesOut = Number(c.res.headers.get("Content-Length") ?? 0);
    const { status } = c.res, fault = c.get("fault");
    metrics.countRequest({ route, method: c.req.method, status, bytesIn: c.get("bytesIn") ?? 0, bytesOut });
    log({
      event: "request",
      request_id: c.get("requestId"),
      method: c.req.method,
      route,
      status,
      code: c.get("problem"),
      milliseconds: Math.round(clock() - start),
      bytes_in: c.get("bytesIn"),
      bytes_out: bytesOut,
      fault: fault === undefined ? undefined : stackOf(fault),
    });
  };
}
