/**
 * Checks API keys and the rate limit of each key. If no keys are configured, the edge refuses everything that it does itself (uploads,
 * blobs, jobs and its own solves) unless `EDGE_OPEN` is set. Requests that it only passes on are then checked by the host.
 */

import type { Context, MiddlewareHandler } from "hono";
import { type Key, parseKeys, requireScope, type Scope } from "../protocol/keys.ts";
import { Refusal } from "../protocol/refusal.ts";
import type { EdgeEnv } from "./edge_env.ts";

/** The period of the rate limit in `wrangler.toml`, in seconds. */
const RATE_PERIOD_SECONDS = 60;

/** What to do if no keys are configured: refuse the request, or leave the check to the host. */
type WithoutKeys = "refuse" | "leave to host";

/**
 * Middleware that rejects a request without a key for `scope`: 401 if the key is missing or unknown, or if no keys are configured; 403 if
 * it lacks the scope; 429 if it is over its rate.
 */
export function requireEdgeKey(
  scope: Scope,
  withoutKeys: WithoutKeys = "refuse",
): MiddlewareHandler<EdgeEnv> {
  return async (c, next) => {
    await checkKey(c, scope, withoutKeys);
    await next();
  };
}

/** The check of {@link requireEdgeKey}, for use within a handler. */
export async function checkKey(
  c: Context<EdgeEnv>,
  scope: Scope,
  withoutKeys: WithoutKeys = "refuse",
): Promise<void> {
  const keys = parseKeys(c.env.PARE_KEYS ?? "");
  if (keys.length > 0) {
    const key = await requireScope(keys, c.req.header("Authorization"), scope, "edge");
    await limitRate(c, key);
    c.set("isAuthorized", true);
    return;
  }
  if (c.env.EDGE_OPEN === "true") c.set("isAuthorized", true);
  else if (withoutKeys === "refuse") {
    throw new Refusal("unauthorized", "this edge has no keys, so it refuses every request: set PARE_KEYS");
  }
  await limitRate(c, undefined);
}

/** Requests without a key share a budget per network address. */
async function limitRate(c: Context<EdgeEnv>, key: Key | undefined): Promise<void> {
  const name = key
    ? Array.from(key.digest, (byte) => byte.toString(16).padStart(2, "0")).join("")
    : c.req.header("CF-Connecting-IP") ?? "";
  const { success } = await c.env.RATE?.limit({ key: name }) ?? { success: true };
  if (!success) {
    throw new Refusal("busy", "the key has used all its requests of this minute", {
      retryAfter: RATE_PERIOD_SECONDS,
    });
  }
}
