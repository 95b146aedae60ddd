/**
 * Who may do what: keys by digest with scopes from `PARE_KEYS`, and a rate limit a key. Where no keys are set the edge
 * gives away nothing of its own (uploads, blobs, jobs, its own solves) unless `EDGE_OPEN` says so; what is only passed on is then the host's
 * to judge.
 */

import type { Context, MiddlewareHandler } from "hono";
import { type Key, parseKeys, requireScope, type Scope } from "../protocol/keys.ts";
import { Refusal } from "../protocol/refusal.ts";
import type { EdgeEnv } from "./edge_env.ts";

/** The rate limit of `wrangler.toml` counts over this many seconds. */
const RATE_PERIOD_SECONDS = 60;

/** Where no keys are set: what the edge does itself is refused, what it passes on is left to the host. */
type WithoutKeys = "refuse" | "host judges";

/**
 * Requires `Authorization: Bearer KEY` of a key that has `scope`, within its rate.
 * 401: no such key, or none are set. 403: it has other scopes. 429: over its rate.
 */
export function requireKey(scope: Scope, withoutKeys: WithoutKeys = "refuse"): MiddlewareHandler<EdgeEnv> {
  return async (c, next) => {
    await checkKey(c, scope, withoutKeys);
    await next();
  };
}

/** As {@link requireKey}, within a handler. */
export async function checkKey(
  c: Context<EdgeEnv>,
  scope: Scope,
  withoutKeys: WithoutKeys = "refuse",
): Promise<void> {
  const keys = parseKeys(c.env.PARE_KEYS ?? "");
  if (keys.length > 0) {
    const key = await requireScope(keys, c.req.header("Authorization"), scope, "edge");
    await limitRate(c, key);
    c.set("admitted", true);
    return;
  }
  if (c.env.EDGE_OPEN === "true") c.set("admitted", true);
  else if (withoutKeys === "refuse") {
    throw new Refusal("unauthorized", "this edge has no keys, so it serves nobody: set PARE_KEYS");
  }
  await limitRate(c, undefined);
}

/** Without a key, those behind one address share a budget. */
async function limitRate(c: Context<EdgeEnv>, key: Key | undefined): Promise<void> {
  const name = key
    ? Array.from(key.digest, (byte) => byte.toString(16).padStart(2, "0")).join("")
    : c.req.header("CF-Connecting-IP") ?? "";
  const { success } = await c.env.RATE?.limit({ key: name }) ?? { success: true };
  if (!success) {
    throw new Refusal("busy", "the key has used up its requests of this minute", {
      retryAfter: RATE_PERIOD_SECONDS,
    });
  }
}
