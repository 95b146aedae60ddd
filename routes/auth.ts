/** Middleware: lets through who has a key that allows it. With no keys set everyone has; the entry point then listens on loopback alone. */

import { timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import type { HostEnv } from "./host_env.ts";
import type { Key, Scope } from "./keys.ts";
import { Refusal } from "./refusal.ts";

/** Requires `Authorization: Bearer KEY` of a key that has `scope`. 401: no such key. 403: it has other scopes. */
export function requireKey(keys: readonly Key[], scope: Scope): MiddlewareHandler<HostEnv> {
  return async (c, next) => {
    if (keys.length > 0) {
      const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "") ?? [];
      const key = token === undefined ? undefined : await findKey(keys, token);
      if (!key) throw new Refusal("unauthorized", "send Authorization: Bearer with a key of this host");
      if (!key.scopes.has(scope)) throw new Refusal("forbidden", `the key does not have the scope ${scope}`);
    }
    await next();
  };
}

/** Compares with every key, each in constant time: how long it takes tells nothing of a digest. */
async function findKey(keys: readonly Key[], token: string): Promise<Key | undefined> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
  let found: Key | undefined;
  for (const key of keys) if (timingSafeEqual(key.digest, digest)) found = key;
  return found;
}
