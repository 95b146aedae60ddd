/** Middleware: lets through who has a key that allows it. With no keys set everyone has; the entry point then listens on loopback alone. */

import type { MiddlewareHandler } from "hono";
import type { HostEnv } from "../host_env.ts";
import { findKey, type Key, type Scope } from "../../src/protocol/keys.ts";
import { Refusal } from "../../src/protocol/refusal.ts";

/** Requires `Authorization: Bearer KEY` of a key that has `scope`. 401: no such key. 403: it has other scopes. */
export function requireKey(keys: readonly Key[], scope: Scope): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    if (keys.length > 0) {
      const key = await findKey(keys, c.req.header("Authorization"));
      if (!key) throw new Refusal("unauthorized", "send Authorization: Bearer with a key of this host");
      if (!key.scopes.has(scope)) throw new Refusal("forbidden", `the key does not have the scope ${scope}`);
    }
    await next();
  };
}
