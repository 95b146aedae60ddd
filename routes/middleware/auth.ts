/** Middleware that checks the API keys of requests. */

import type { MiddlewareHandler } from "hono";
import { type Key, requireScope, type Scope } from "../../src/protocol/keys.ts";
import type { HostEnv } from "../host_app.ts";

/**
 * Returns middleware that requires a key with `scope`. It answers 401 if the key is missing or not accepted, and 403 if it lacks the scope.
 * If `keys` is empty, every request passes. Such a host listens on loopback only.
 */
export function requireKey(keys: readonly Key[], scope: Scope): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    if (keys.length > 0) await requireScope(keys, c.req.header("Authorization"), scope, "host");
    await next();
  };
}
