/**
 * Checks the API key of a request to the edge, and the rate limit of the key. If no keys are configured and `EDGE_OPEN`
 * is not set, the edge refuses the requests that it would serve itself. The host checks the keys of the others.
 */

import { createRoute } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
import { parseHostNames, requireHostName } from "../protocol/host_names.ts";
import { type Key, parseKeys, requireScope, type Scope } from "../protocol/keys.ts";
import { Refusal } from "../protocol/refusal.ts";
import { type Operation, routeConfig } from "../protocol/resources/operation.ts";
import type { EdgeBindings, EdgeEnv } from "./bindings.ts";

const RATE_PERIOD_SECONDS = 60;

/**
 * Returns middleware that requires a key with the scope that the operation declares. It answers 401 if the key is
 * missing or unknown, 403 if the key lacks the scope, and 429 if the key is over its rate limit.
 * @param isOwn whether the edge serves the request itself. If it has no keys and is not open, it refuses such requests,
 * and leaves the check of the key to a host for all others
 */
export function requireEdgeKey(
  { scope }: Operation,
  isOwn: (env: EdgeBindings) => boolean = () => true,
): MiddlewareHandler<EdgeEnv> {
  return async (c, next) => {
    if (scope !== "public") await checkKey(c, scope, isOwn(c.env));
    await next();
  };
}

/** Returns the route of an operation that the edge serves itself. `middleware` runs after the check of the key. */
export function guardedRoute<T extends Operation>(
  operation: T,
  ...middleware: MiddlewareHandler<EdgeEnv>[]
) {
  return createRoute({ ...routeConfig(operation), middleware: [requireEdgeKey(operation), ...middleware] });
}

/**
 * If the edge is open to requests without a key, answers 400 unless the header `Host` and the URL name loopback or one
 * of `PARE_HOSTS`. `protocol/host_names.ts` describes the attack that this prevents.
 */
export const requireOpenEdgeName: MiddlewareHandler<EdgeEnv> = async (c, next) => {
  if (isOpen(c.env)) {
    const names = parseHostNames(c.env.PARE_HOSTS ?? "");
    const { host } = new URL(c.req.url);
    for (const name of [c.req.header("Host") ?? host, host]) requireHostName(name, names);
  }
  await next();
};

function isOpen({ PARE_KEYS, EDGE_OPEN }: EdgeBindings): boolean {
  return !PARE_KEYS && EDGE_OPEN === "true";
}

async function checkKey(c: Context<EdgeEnv>, scope: Scope, isOwn: boolean): Promise<void> {
  const keys = parseKeys(c.env.PARE_KEYS ?? "");
  if (keys.length > 0) {
    const key = await requireScope(keys, c.req.header("Authorization"), scope, "edge");
    await limitRate(c, key);
    authorize(c, key.digest.toHex());
    return;
  }
  if (isOpen(c.env)) authorize(c, "open");
  else if (isOwn) {
    throw new Refusal(
      "unauthorized",
      "this edge has no API keys, so it refuses the requests that it would serve itself. Set PARE_KEYS",
    );
  }
  await limitRate(c, undefined);
}

/** Returns the client that {@link requireEdgeKey} has authorised, to which its jobs and uploads belong. */
export function requireClient(c: Context<EdgeEnv>): string {
  const client = c.get("client");
  if (client === undefined) throw new TypeError("the request was not authorised before its handler ran");
  return client;
}

function authorize(c: Context<EdgeEnv>, client: string): void {
  c.set("isAuthorized", true);
  c.set("client", client);
}

/**
 * Counts the request against the budget of its key. Requests without a key are counted per network address.
 * @throws {Refusal} `busy` over the limit
 */
async function limitRate(c: Context<EdgeEnv>, key: Key | undefined): Promise<void> {
  const name = key ? key.digest.toHex() : c.req.header("CF-Connecting-IP") ?? "";
  const { success } = await c.env.RATE?.limit({ key: name }) ?? { success: true };
  if (success) return;
  const subject = key ? "this API key" : "this network address";
  throw new Refusal("busy", `${subject} has used all its requests of this minute`, {
    retryAfter: RATE_PERIOD_SECONDS,
  });
}
