/** The middleware of a host. `app.ts` chooses the paths to which it applies. */

import { createRoute } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { HostServices } from "../src/host/host_services.ts";
import { addSecurityHeaders } from "../src/pages/page_headers.ts";
import { NonceMemory, verifyTicket } from "../src/protocol/tickets.ts";
import { Refusal, requireDistinctParameters } from "../src/protocol/refusal.ts";
import { requireHostName } from "../src/protocol/host_names.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../src/protocol/headers.ts";
import { type KeySource, requireScope } from "../src/protocol/keys.ts";
import { type Operation, routeConfig } from "../src/protocol/resources/operation.ts";
import { settlesWithin } from "../src/base/waiting.ts";
import { stackOf } from "../src/base/errors.ts";
import type { HostEnv } from "./host_app.ts";

/**
 * Sets the variable `requestId` of the request, and the header `X-Request-Id` of the answer. If the client has sent a
 * well-formed id, it is used.
 */
export const requestId: MiddlewareHandler<HostEnv> = async (c, next) => {
  const id = requestIdOf(c.req.header(REQUEST_ID_HEADER));
  c.set("requestId", id);
  await next();
  c.res.headers.set(REQUEST_ID_HEADER, id);
};

/**
 * Returns middleware that answers 400 unless the header `Host` and the authority of the URL have one of `names`. The
 * two differ if the request line has a whole URL. A request without the header passes if it comes from this process, or
 * if every name is accepted.
 */
export function hostName(names: readonly string[] | undefined): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    const header = c.req.header("Host");
    if (header !== undefined || names !== undefined && c.env?.sent !== undefined) {
      requireHostName(header ?? "", names);
      requireHostName(new URL(c.req.url).host, names);
    }
    await next();
  };
}

/** Adds the security headers of `src/pages/page_headers.ts`. A page has headers of its own, which stay. */
export const securityHeaders: MiddlewareHandler<HostEnv> = async (c, next) => {
  await next();
  addSecurityHeaders(c.res.headers);
};

/** Answers 400 if a parameter in the query has no name, or is repeated. */
export const distinctParameters: MiddlewareHandler<HostEnv> = async (c, next) => {
  requireDistinctParameters(new URL(c.req.url).searchParams);
  await next();
};

/** Returns middleware that logs a request and counts it in the metrics, when the headers of the answer are ready. */
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

/**
 * Returns the route of an operation. A request needs a key with the scope that the operation declares. The answer is 401
 * if the key is missing or not accepted, and 403 if it lacks the scope. If there are no keys, every request passes. Such
 * a host listens on loopback only.
 */
export function guardedRoute<T extends Operation>(operation: T, keys: KeySource) {
  const { scope } = operation;
  const middleware: MiddlewareHandler<HostEnv> = async (c, next) => {
    const { current, owner = "" } = keys, needsKey = scope !== "public" && current.length > 0;
    const key = needsKey && await requireScope(current, c.req.header("Authorization"), scope, "host");
    c.set("owner", key ? key.digest.toHex() : owner);
    await next();
  };
  return createRoute({ ...routeConfig(operation), middleware });
}

/**
 * Returns middleware that answers 401 unless the request has a valid ticket of the edge. It reads the whole body,
 * because a ticket is valid for one body only.
 * @param secret the secret that host and edge share
 * @param audience the id of this host
 * @param bodyMilliseconds the time within which the whole body must arrive
 * @param now returns milliseconds since 1970
 */
export function requireTicket(
  secret: string,
  audience: string,
  bodyMilliseconds: number,
  now: () => number,
): MiddlewareHandler<HostEnv> {
  const nonces = new NonceMemory();
  return async (c, next) => {
    const arriving = c.req.arrayBuffer();
    if (!await settlesWithin(arriving, bodyMilliseconds)) {
      throw new Refusal("too_slow", `the body did not arrive within ${bodyMilliseconds / 1000} s`);
    }
    const body = new Uint8Array(await arriving);
    const subject = { audience, method: c.req.method, path: c.req.path, body };
    await verifyTicket(secret, c.req.header("Authorization"), subject, now(), nonces);
    await next();
  };
}
