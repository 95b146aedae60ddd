/**
 * Refuses methods that a known path does not have, instead of forwarding them or answering that the path is unknown.
 */

import type { Context, MiddlewareHandler } from "hono";
import { TrieRouter } from "hono/router/trie-router";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeApp, EdgeEnv } from "../bindings.ts";
import { edgeProblemResponse } from "../problems.ts";

/** Returns middleware that answers 405 with the header Allow, for all resources that `app` has. */
export function requireMethod(app: EdgeApp): MiddlewareHandler<EdgeEnv> {
  let router: TrieRouter<string> | undefined;
  return async (c, next) => {
    router ??= routerOf(app);
    const methods = new Set(router.match("ALL", c.req.path)[0].map(([method]) => method));
    if (methods.has("GET")) methods.add("HEAD");
    if (methods.size === 0 || methods.has(c.req.method)) return await next();
    return notAllowed(c, [...methods].toSorted().join(", "));
  };
}

/** Returns a router that finds the methods of a path. */
function routerOf(app: EdgeApp): TrieRouter<string> {
  const router = new TrieRouter<string>();
  for (const { method, path } of app.routes) if (method !== "ALL") router.add("ALL", path, method);
  return router;
}

function notAllowed(c: Context<EdgeEnv>, allowed: string): Response {
  const response = edgeProblemResponse(c, new Refusal("method_not_allowed", `this path accepts ${allowed}`));
  response.headers.set("Allow", allowed);
  return response;
}
