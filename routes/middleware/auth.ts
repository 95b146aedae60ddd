/** Middleware that checks API keys. */

import type { MiddlewareHandler } from "hono";
import { type Key, requireScope, type Scope } from "../../src/protocol/keys.ts";
import type { HostEnv } from "../host_env.ts";

/**
 * Rejects a request that has no key with `scope`: 401 if the key is missing or unknown, 403 if it lacks the scope. If no keys are
 * configured, every request passes, and the host listens on loopback only.
 */
export function requireKey(keys: readonly Key[], scope: Scope): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    if (keys.length > 0) await requireScope(keys, c.req.header("Authorization"), scope, "host");
    await next();
  };
}
